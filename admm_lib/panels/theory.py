"""The panels of notebook 01: one weight on a number line, and two weights as contours."""

from collections.abc import Callable
from functools import lru_cache

import torch
from matplotlib.figure import Figure

from ..figures import theory
from ..toy import Kinked, Path, admm, projected_gradient
from .base import Panel, State, menu, slider

ROUNDS = 12  # of the number line: three single updates each
LINE_RHOS = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 5.0, 10.0)
PLANE_RHOS = (0.1, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 2.0, 5.0, 10.0, 30.0)
ROUND_COUNTS = (*range(7), 8, 10, 15, 20, 40, 60, 100)
SETS = {"one nonzero": theory.ONE_NONZERO, "four levels": theory.FOUR_LEVELS}


@lru_cache(maxsize=64)
def number_line_path(rho: float, start: float = 0.2) -> Path:
    """ADMM on the kinked loss and two levels, from the weight `start`."""
    W = torch.tensor([start], dtype=torch.float64)
    return admm(Kinked(), theory.TWO_LEVELS, rho, W, ROUNDS)


def explain(path: Path, step: int) -> str:
    """One sentence on the single update that led to this state."""
    W, Z, U = theory.number_line_state(path, step)
    if step == 0:
        return f"Start: W = {W:.2f}, the minimum of f; Z = {Z:g}, the nearest allowed value; U = 0."
    done, phase = divmod(step - 1, 3)
    before = theory.number_line_state(path, step - 1)
    return (
        f"Round {done + 1}, "
        + (
            f"W-step: W = {W:.2f}, between the minimum of f and Z - U = {before[1] - before[2]:.2f}.",
            f"Z-step: Z = {Z:g}, the allowed value nearest to W + U = {W + before[2]:.2f}.",
            f"U-step: U = {before[2]:.2f} + {W - Z:.2f} = {U:.2f}, the disagreement so far.",
        )[phase]
    )


def number_line(rho: float = 2.0) -> Panel:
    """One weight, two allowed values: Step moves W, then Z, then U."""

    def draw(rho: float, step: int) -> Figure:
        return theory.number_line(number_line_path(rho), step, Kinked(), theory.TWO_LEVELS.levels)

    def by(steps: int) -> Callable[[State], State]:
        return lambda state: {"step": min(state["step"] + steps, 3 * ROUNDS)}

    return Panel(
        "one weight on a number line",
        {
            "rho": slider("rho", _with(LINE_RHOS, rho), rho, "how hard Z - U pulls at W"),
            "step": slider("step", range(3 * ROUNDS + 1), 0, "single updates done so far"),
        },
        draw,
        alt="The loss of one weight above a number line with two allowed values, on which W, Z and "
        "the arrow U stand; beside it, W, Z and U by round.",
        text=lambda rho, step: explain(number_line_path(rho), step),
        code=_line_code,
        actions={"Step": by(1), "Whole round": by(3), "Reset": lambda state: {"step": 0}},
    )


@lru_cache(maxsize=256)
def plane_paths(kind: str, rho: float, start: tuple[float, float]) -> tuple[Path, torch.Tensor]:
    """ADMM's path and projected gradient's on the two-weight problem, as long as the panel goes."""
    W, constraint = torch.tensor(start, dtype=torch.float64), SETS[kind]
    problem, rounds = theory.TWO_WEIGHTS, ROUND_COUNTS[-1]
    path = admm(problem, constraint, rho, W, rounds)
    return path, projected_gradient(problem, constraint, W, rounds)


def plane(rho: float = 0.6) -> Panel:
    """Two weights: ADMM, projected gradient and truncation on the contours of the loss."""
    centre = _centre()
    grid = (-2.0, -1.0, 0.0, 1.0, 2.0)

    def draw(kind: str, rho: float, start_1: float, start_2: float, rounds: int) -> Figure:
        path, gradient = plane_paths(kind, rho, (start_1, start_2))
        return theory.landscape(theory.TWO_WEIGHTS, SETS[kind], path, gradient, rounds)

    return Panel(
        "two weights, ADMM beside projected gradient and truncation",
        {
            "kind": menu("set", SETS, "one nonzero", "what Z may be"),
            "rho": slider("rho", _with(PLANE_RHOS, rho), rho, "how hard Z - U pulls at W"),
            "start_1": slider("start, weight 1", _with(grid, centre[0]), centre[0]),
            "start_2": slider("start, weight 2", _with(grid, centre[1]), centre[1]),
            "rounds": slider("rounds", ROUND_COUNTS, 40),
        },
        draw,
        alt="Contours of the loss of two weights, the set, and the paths of W and Z, of projected "
        "gradient and of truncation; beside it the path of U and the two residuals by round.",
        text=summary,
        code=_plane_code,
        actions={"More rounds": _next_round, "Reset": lambda state: {"rounds": 0}},
    )


def summary(kind: str, rho: float, start_1: float, start_2: float, rounds: int) -> str:
    """One sentence: where each method stands, and what the best point costs."""
    path, gradient = plane_paths(kind, rho, (start_1, start_2))
    problem, constraint = theory.TWO_WEIGHTS, SETS[kind]
    best = theory.optimum(problem, constraint)
    values = {
        "Z of ADMM": path.Z[rounds],
        "projected gradient": gradient[rounds],
        "truncation": theory.project(constraint, problem.centre),
        "the best": best,
    }
    losses = ", ".join(f"{name} {problem.loss(W).item():.3f}" for name, W in values.items())
    gap = (path.W[rounds] - path.Z[rounds]).norm().item()
    disagreement = f"{gap:.1e}" if gap > 1e-9 else "0"  # below that, another machine rounds otherwise
    return f"Loss after round {rounds}: {losses}. ||W - Z|| = {disagreement}."


def _centre() -> list[float]:
    return [round(value, 2) for value in theory.TWO_WEIGHTS.centre.tolist()]


def _next_round(state: State) -> State:
    later = [rounds for rounds in ROUND_COUNTS if rounds > state["rounds"]]
    return {"rounds": later[0] if later else ROUND_COUNTS[-1]}


def _with(values: tuple[float, ...], extra: float) -> list[float]:
    return sorted({*values, float(extra)})


def _line_code(rho: float, step: int) -> str:
    return f"""import torch
from admm_lib import OneOf, toy

start = torch.tensor([0.2])
path = toy.admm(toy.Kinked(), OneOf((-1.0, 1.0)), rho={rho}, start=start, rounds={ROUNDS})
for k in range({-(-step // 3) + 1}):
    print(k, path.W[k].item(), path.Z[k].item(), path.U[k].item())
"""


def _plane_code(kind: str, rho: float, start_1: float, start_2: float, rounds: int) -> str:
    return f"""import torch
from admm_lib import OneOf, Sparse, toy

H = torch.tensor({theory.TWO_WEIGHTS.H.tolist()})
problem = toy.Quadratic(H, centre=torch.tensor({_centre()}))
start = torch.tensor({[start_1, start_2]})
path = toy.admm(problem, {SETS[kind]!r}, {rho}, start, rounds={rounds})
print("W", path.W[-1].tolist(), "Z", path.Z[-1].tolist(), "U", path.U[-1].tolist())
print("loss of Z", problem.loss(path.Z[-1]).item())
"""
