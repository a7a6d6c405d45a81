"""Panel of notebook 09."""

from collections.abc import Mapping
from typing import Any

from .. import imagenet_cost
from ..figures import imagenet as figures
from .base import Panel, menu, slider

IMAGES = (16, 32, 64, 128, 256, 512, 1024)
UPDATES = (1, 2, 5, 10, 50)


def cost_panel(measured: Mapping[str, dict[str, Any]]) -> Panel:
    """Network, images a step, set, updates an epoch: what an epoch's time and the memory go into.

    `measured` is what `imagenet_cost.read_admm` gives.
    """

    def spent(network: str, images: int, kind: str, updates: int) -> dict[str, float]:
        return imagenet_cost.share(measured[network], images, kind, updates)

    def draw(network: str, images: int, kind: str, updates: int) -> Any:
        bars = spent(network, images, kind, updates), imagenet_cost.copies(measured[network])
        return figures.cost({network: bars}, f"{images} images a step")

    def text(network: str, images: int, kind: str, updates: int) -> str:
        seconds = spent(network, images, kind, updates)
        training = seconds["forward and backward"] + seconds["optimizer"]
        gradient, update = seconds["penalty's gradient"], seconds["Z- and U-updates"]
        held = imagenet_cost.copies(measured[network])
        ours = held["Z and U"] + held["U - Z, for the gradient"]
        return (
            f"{network}, {images} images a step: ADMM adds {100 * (gradient + update) / training:.2f}% to "
            f"an epoch of training, {100 * update / training:.3f} points of it by {updates} Z- and U-update"
            f"{'s' * (updates > 1)} ({kind}); {ours / 1e9:.2f} GB stay in memory, "
            f"{held['while updating'] / 1e9:.2f} GB for as long as an update"
        )

    return Panel(
        "what ADMM costs",
        {
            "network": menu("network", list(measured), next(iter(measured))),
            "images": slider("images a step", IMAGES, 256),
            "kind": menu("set", list(imagenet_cost.SETS), next(iter(imagenet_cost.SETS))),
            "updates": slider("updates an epoch", UPDATES, 1),
        },
        draw,
        alt="A row for a network: marks for what the seconds of an epoch of ImageNet are spent on, most of "
        "them forward and backward, and a bar of what stands in memory beside the weights.",
        text=text,
        code=_code,
    )


def _code(network: str, images: int, kind: str, updates: int) -> str:
    made = {"1 weight in 10": "al.Sparse(ratio=10)", "3-bit levels": "al.Levels(bits=3)"}[kind]
    return f"""import time
import admm_lib as al
from admm_lib import allocation, imagenet

model, weights = imagenet.network("{network}")  # {images} images a step do not change what an update takes
admm = al.ADMM(model, dict.fromkeys(allocation.prunable(model), {made}), rho=1.5e-3)
began = time.perf_counter()
for _ in range({updates}):  # an epoch's
    admm.update()
print(f"{{weights}} weights, {{time.perf_counter() - began:.2f}} s")
"""
