"""Panels of notebook 03."""

import copy
import math
from collections.abc import Callable
from threading import Event
from typing import Any

from torch import nn

from .. import codec, data
from ..admm import ADMM
from ..allocation import in_steps, suggest
from ..constraints import Sparse
from ..evaluation import evaluate
from ..figures import progressive as figures
from ..schedules import Schedule, geometric
from ..training import Epoch, fit
from .base import Panel, Worker, slider

RATIOS = (20, 40, 71.2, 167, 246, 350)
STEPS = (1, 2, 3, 4, 6)
RHOS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
EPOCHS = 24  # in all, whatever the number of steps; half of each step is ADMM, half retraining


def schedule_panel(network: nn.Module, split: data.Split, train: data.Split) -> Panel:
    """Final ratio, number of steps, rho's start and end: the schedule drawn, then run on `train`.

    `network` is a LeNet-5. Run prunes a copy of it by the schedule on show; accuracies are those on `split`.
    """
    sizes = {name: network.get_parameter(name).numel() for name in suggest(network)}
    weights = sum(sizes.values())

    def budgets(ratio: float, steps: int) -> list[dict[str, Sparse]]:
        return in_steps(network, suggest(network, ratio), steps)

    def draw(ratio: float, steps: int, start: float, end: float) -> Any:
        half = EPOCHS // steps // 2
        kept = [sum(each.keep for each in sets.values()) for sets in budgets(ratio, steps)]
        factor = _growth(start, end, half)
        one = [start * factor(t) for t in range(half)] + [math.nan] * half
        each_epoch = [count for count in kept for _ in range(2 * half)]
        return figures.schedule(each_epoch, weights, one * steps, text(ratio, steps, start, end))

    def text(ratio: float, steps: int, start: float, end: float) -> str:
        half, plural = EPOCHS // steps // 2, "" if steps == 1 else "s"
        return f"{ratio:g}x in {steps} step{plural} of {half} + {half} epochs, ρ from {start:g} to {end:g}"

    def run(stop: Event, report: Callable[[float, str], None]) -> tuple[str, bytes] | None:
        ratio, steps, start, end = panel.state.values()
        model, done = copy.deepcopy(network), [0]
        half, ended = EPOCHS // steps // 2, []

        def told(epoch: Epoch) -> None:
            done[0] += 1
            so_far = "".join(f"{right:.1f}% → " for right in ended)
            report(done[0] / EPOCHS, f"epoch {done[0]}: {so_far}{epoch.val_accuracy:.1f}% right")

        for sets in budgets(ratio, steps):
            admm = ADMM(model, sets, rho=start, schedule=_growth(start, end, half))
            common = {"lr": 2e-3, "validate": split, "progress": told, "stop": stop, "batch_size": 64}
            fit(model, train, half, admm=admm, seed=done[0], **common)
            admm.finalize()
            if not stop.is_set():
                fit(model, train, half, seed=done[0], **common)
            if stop.is_set():
                return None
            ended.append(evaluate(model, split).accuracy)
        report(1, " → ".join(f"{right:.1f}%" for right in ended) + " right, after each step")
        return f"lenet5-{ratio:g}x-in-{steps}.admm", codec.encode(model)

    def plan(ratio: float, steps: int, **_: float) -> tuple[str, bytes]:
        lines = [
            f"{number},{layer},{sparse.keep}"
            for number, sets in enumerate(budgets(ratio, steps), 1) for layer, sparse in sets.items()
        ]
        return f"plan-{ratio:g}x-in-{steps}.csv", "\n".join(["step,layer,keep", *lines, ""]).encode()

    worker = Worker("Run", run, lambda made: made and panel.offer(*made))
    panel = Panel(
        "a schedule of steps",
        {
            "ratio": slider("final ratio", [(f"{r:g}x", r) for r in RATIOS], 167),
            "steps": slider("steps", STEPS, 3),
            "start": slider("ρ at the start", RHOS, 1e-3),
            "end": slider("ρ at the end", RHOS, 1e-2),
        },
        draw,
        alt="Two plots over the epochs of a run: the weights kept, falling step by step on a logarithmic "
        "scale, and rho, which starts low again in every step.",
        text=text,
        code=_code,
        files={"plan": plan},
        below=[worker.widget],
    )
    panel.worker = worker
    return panel


def _growth(start: float, end: float, epochs: int) -> Schedule:
    """rho is `start` in the first of the epochs and `end` in the last."""
    return geometric(1, end / start, max(1, epochs - 1))


def _code(ratio: float, steps: int, start: float, end: float) -> str:
    half = EPOCHS // steps // 2
    return f"""import admm_lib as al

data = al.data.load("auto")
model = al.models.pretrained("lenet5", data.name)
final = al.suggest(model, ratio={ratio:g})
grow = al.geometric(1, {end / start:g}, {max(1, half - 1)})
for number, sets in enumerate(al.allocation.in_steps(model, final, steps={steps})):
    admm = al.ADMM(model, sets, rho={start:g}, schedule=grow)
    al.fit(model, data, {half}, admm=admm, lr=2e-3, seed={2 * half} * number)
    admm.finalize()                                # these zeros stay in the next step
    al.fit(model, data, {half}, lr=2e-3, seed={2 * half} * number + {half})
print(al.evaluate(model, data.val))
"""
