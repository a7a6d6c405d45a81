"""The figures of notebook 01: one weight on a number line, two as contours, residuals, basins."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from ..constraints import Constraint, OneOf, Sparse
from ..toy import Kinked, Path, Quadratic, admm, optimum, project
from . import style
from .style import COLORS, FAINT, GREY, INK, LINES, MARKERS

TWO_WEIGHTS = Quadratic(
    torch.tensor([[1.0, 1.5], [1.5, 5.0]], dtype=torch.float64),
    torch.tensor([0.96, 0.7], dtype=torch.float64),
)
ONE_NONZERO = Sparse(keep=1)
FOUR_LEVELS = OneOf((-1.5, -0.5, 0.5, 1.5))
TWO_LEVELS = OneOf((-1.0, 1.0))
BEST, OTHER, NEVER = 0, 1, 2  # where a run of ADMM ends


def number_line_state(path: Path, step: int) -> tuple[float, float, float]:
    """W, Z and U after `step` single updates: each round is a W-step, a Z-step and a U-step."""
    done, phase = divmod(step, 3)
    return (
        path.W[done + (phase >= 1)].item(),
        path.Z[done + (phase == 2)].item(),
        path.U[done].item(),
    )


@style.styled
def number_line(path: Path, step: int, problem: Kinked, levels: Sequence[float]) -> Figure:
    """One weight after `step` single updates: loss and number line left, history right."""
    figure = style.new_figure(height=3.6, layout=None)
    line = figure.add_axes((0.02, 0.13, 0.52, 0.85))
    _weight_on_line(line, number_line_state(path, step), problem, levels)
    history = figure.add_axes((0.62, 0.13, 0.36, 0.76))
    for name, offset in (("W", 1), ("Z", 2), ("U", 3)):
        values = getattr(path, name).flatten().tolist()
        times = [0, *(k + offset / 3 for k in range(len(values) - 1))]
        shown = [(t, v) for t, v in zip(times, values, strict=True) if t <= step / 3 + 1e-9]
        xs, ys = zip(*shown, (step / 3, shown[-1][1]), strict=True)
        history.plot(xs, ys, LINES[name], drawstyle="steps-post", color=COLORS[name], lw=1.4)
        history.plot(xs[:-1], ys[:-1], MARKERS[name], color=COLORS[name], ms=4.5, label=name)
    history.set(xlim=(-0.1, max(4, step / 3) + 0.1), xlabel="round", ylim=(-2.4, 2.4))
    history.grid(axis="y")
    history.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 0.99), borderpad=0)
    return figure


def _weight_on_line(
    axes: Axes, state: tuple[float, float, float], problem: Kinked, levels: Sequence[float]
) -> None:
    W, Z, U = state
    w = torch.linspace(-2, 2, 201, dtype=torch.float64)
    axes.plot(w, problem.loss(w[:, None]), color=GREY, lw=1.5)
    axes.text(-1.95, 2.7, "loss f(W)", va="top")
    axes.axhline(-1, color=INK, lw=1)
    for level in levels:
        height = problem.loss(torch.tensor([level])).item()
        axes.plot([level, level], [-1.2, -0.8], color=INK, lw=1)
        axes.plot(level, height, "s", mfc="none", mec=GREY, ms=9)
        axes.text(level - 0.16, height, f"{height:.2f}", ha="right", va="center", fontsize=8.5)
        axes.text(level, -0.55, "allowed", ha="center", fontsize=8.5)
    halfway = sum(levels) / len(levels)
    axes.plot([halfway, halfway], [-2.2, -0.8], color=GREY, lw=1, ls=(0, (1, 2)))
    axes.text(halfway, -2.36, "halfway", ha="center", va="top", fontsize=8.5, color=INK)
    loss = problem.loss(torch.tensor([W])).item()
    axes.plot([W, W], [-1, loss], ":", color=COLORS["W"], lw=1)
    axes.plot(W, loss, "o", color=COLORS["W"], ms=5)
    axes.plot(Z, -1, MARKERS["Z"], color=COLORS["Z"], ms=14)
    axes.text(Z, -1.25, "Z", color="#8a5600", ha="center", va="top", weight="bold")
    axes.plot(W, -1, MARKERS["W"], color=COLORS["W"], ms=9)
    axes.text(W - 0.13, -0.92, "W", color=COLORS["W"], ha="right", va="bottom", weight="bold")
    if abs(U) > 1e-3:
        arrow = {"arrowstyle": "-|>", "color": COLORS["U"], "lw": 2, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (W + U, -1.9), (W, -1.9), arrowprops=arrow)
        axes.plot([W, W], [-1.9, -1], ":", color=COLORS["U"], lw=1)
        end = {"ha": "left", "x": W + U + 0.08} if U > 0 else {"ha": "right", "x": W + U - 0.08}
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(s="W+U", y=-1.9, color=COLORS["U"], va="center", weight="bold", bbox=box, **end)
    axes.set(xlim=(-2.7, 2.7), ylim=(-2.9, 2.9), yticks=[], xlabel="value of the weight")
    axes.spines["left"].set_visible(False)


def _contours(axes: Axes, problem: Quadratic, constraint: Constraint, reach: float = 2.2) -> None:
    """The loss as contour lines, and the set as thick lines or hollow squares."""
    grid = torch.linspace(-reach, reach, 81, dtype=torch.float64)
    x, y = torch.meshgrid(grid, grid, indexing="xy")
    loss = problem.loss(torch.stack([x, y], -1))
    axes.contour(x, y, loss, levels=np.geomspace(0.05, 30, 10), colors=FAINT, linewidths=0.9)
    if isinstance(constraint, Sparse):
        axes.axhline(0, color=GREY, lw=3, alpha=0.6, zorder=1)
        axes.axvline(0, color=GREY, lw=3, alpha=0.6, zorder=1)
    else:
        points = np.array(np.meshgrid(constraint.levels, constraint.levels)).reshape(2, -1)
        axes.plot(*points, "s", mfc="none", mec=GREY, ms=9, ls="none", zorder=1)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="W₁", ylabel="W₂")
    axes.set(xticks=[-2, -1, 0, 1, 2], yticks=[-2, -1, 0, 1, 2])


@style.styled
def landscape(
    problem: Quadratic, constraint: Constraint, path: Path, gradient: torch.Tensor, rounds: int
) -> Figure:
    """Paths of W and Z over the loss of two weights, U in its own plane, and the residuals."""
    figure = style.new_figure(height=4.9, layout=None)
    plane = figure.add_axes((0.09, 0.095, 0.52, 0.52 * 7.5 / 4.9))
    _contours(plane, problem, constraint)
    best, truncated = optimum(problem, constraint), project(constraint, problem.centre)
    plane.plot(*best, "*", mfc="white", mec=INK, ms=16, ls="none", label="best point of the set")
    plane.plot(*problem.centre, "+", color=INK, ms=9, mew=1.8, ls="none", label="minimum of f")
    _track(plane, gradient[: rounds + 1], "projected gradient", "projected gradient", ms=7, mfc="white")
    plane.plot(
        *truncated, MARKERS["truncation"], color=COLORS["truncation"], ms=9, ls="none",
        label="truncation", zorder=5, mec="white", mew=0.6,
    )  # fmt: skip
    _track(plane, path.Z[: rounds + 1], "Z", "Z of ADMM", ms=5)
    _track(plane, path.W[: rounds + 1], "W", "W of ADMM", ms=4)
    figure.legend(ncols=3, loc="upper left", bbox_to_anchor=(0.03, 1.0), columnspacing=1.4)
    dual = figure.add_axes((0.715, 0.59, 0.27, 0.295))
    _dual_plane(dual, -problem.gradient(best) / path.rho[-1], path.U[: rounds + 1])
    _residuals(figure.add_axes((0.715, 0.095, 0.27, 0.295)), path, rounds)
    return figure


def _track(axes: Axes, points: torch.Tensor, name: str, label: str, **more: object) -> None:
    look = {"ls": LINES[name], "lw": 1.2, "marker": MARKERS[name], "color": COLORS[name]}
    axes.plot(*points.T, label=label, **look, **more)


def _dual_plane(axes: Axes, needed: torch.Tensor, U: torch.Tensor) -> None:
    axes.plot(*needed, "*", mfc="white", mec=INK, ms=14)
    _track(axes, U, "U", "U of ADMM", ms=4)
    axes.set(xlabel="U₁", ylabel="U₂")
    axes.set_title("U, and the U of the best point ☆", fontsize=8.5, weight="normal")
    axes.margins(0.15)
    axes.locator_params(nbins=4)


def _residuals(axes: Axes, path: Path, rounds: int) -> None:
    steps = np.arange(1, rounds + 1)
    for values, label, line in ((path.primal, "primal", "-"), (path.dual, "dual", "--")):
        exponents = values[:rounds].clamp_min(1e-9).log10()  # a log axis is slow to draw
        axes.plot(steps, exponents, line, color=INK, lw=1.3, marker=".", ms=2, label=label)
    axes.set(xlabel="round", ylim=(-7, 1.5), xlim=(0, max(10, rounds)))
    axes.set_yticks([-6, -3, 0], ["1e-6", "1e-3", "1"])
    axes.set_title("residuals: primal —, dual - -", fontsize=8.5, weight="normal")
    axes.grid(axis="y")


@style.styled
def residuals(paths: Mapping[str, Path]) -> Figure:
    """Primal and dual residual against the round, one small picture per path."""
    figure = style.new_figure(height=2.7)
    row = figure.subplots(1, len(paths), sharey=True)
    for axes, (title, path) in zip(row, paths.items(), strict=True):
        _residuals(axes, path, len(path.rho))
        axes.set_title(title, fontsize=9.5, weight="normal")
    figure.axes[0].legend(loc="center left", bbox_to_anchor=(0, 0.3))
    figure.axes[0].set_ylabel("residual")
    return figure


def outcomes(
    problem: Quadratic, constraint: Constraint, rho: float, starts: torch.Tensor, rounds: int = 200
) -> torch.Tensor:
    """BEST, OTHER or NEVER by start: ADMM settles on the best point, on another one, not at all."""
    path = admm(problem, constraint, rho, starts, rounds)
    hit = (path.Z[-1] - optimum(problem, constraint)).abs().amax(-1) <= 1e-3
    return torch.where(path.settled(1e-3), torch.where(hit, BEST, OTHER), NEVER)


def start_grid(points: int, reach: float = 2.15) -> torch.Tensor:
    """Starts (points, points, 2) over the plane, row by row as a picture, none of them on a tie."""
    grid = torch.linspace(-reach, reach, points, dtype=torch.float64)
    return torch.stack(torch.meshgrid(grid, grid + 0.013, indexing="xy"), -1)


@style.styled
def basins(ends: Mapping[tuple[str, float], torch.Tensor]) -> Figure:
    """Where ADMM ends, by start, as `outcomes` says: a row per set, a column per rho."""
    names, rhos = (list(dict.fromkeys(each)) for each in zip(*ends, strict=True))
    figure = style.new_figure(height=4.3)
    colours = ListedColormap([COLORS["admm"], COLORS["pruned"], "#eeeeee"])
    grid = figure.subplots(len(names), len(rhos), sharex=True, sharey=True, squeeze=False)
    place = {"origin": "lower", "extent": (-2.2, 2.2) * 2}
    for row, name in zip(grid, names, strict=True):
        for axes, rho in zip(row, rhos, strict=True):
            axes.imshow(ends[name, rho].numpy(), cmap=colours, vmin=0, vmax=2, **place)
            share = (ends[name, rho] == BEST).double().mean().item()
            axes.set_title(f"ρ = {rho:g}: {share:.0%} best", fontsize=9, weight="normal")
            axes.set(xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        row[0].set_ylabel(f"{name}\nstart W₂")
    for axes in grid[-1]:
        axes.set_xlabel("start W₁")
    labels = ("best point", "another point", "never settles")
    for colour, label in zip(colours.colors, labels, strict=True):
        grid[0, 0].plot([], [], "s", color=colour, mec=INK, ms=8, label=label)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@style.styled
def shares(rhos: Sequence[float], found: Sequence[float], others: Mapping[str, float]) -> Figure:
    """Share of random problems solved exactly: ADMM against rho, the other methods as levels."""
    figure = style.new_figure(height=3.0)
    axes = figure.subplots()
    axes.semilogx(rhos, found, "-o", color=COLORS["admm"], label="ADMM, constant ρ")
    lines = {"projected gradient": "--", "truncation": ":"}
    for name, share in others.items():
        colour = COLORS.get(name, INK)
        axes.plot([rhos[0], rhos[-1]], [share] * 2, color=colour, ls=lines.get(name, "-."), lw=1.6)
        axes.text(rhos[-1] * 1.2, share, name, color=colour, va="center")
    axes.text(rhos[0], max(found), "ADMM, constant ρ", color=COLORS["admm"], va="bottom")
    axes.set(xlabel="ρ (mean curvature of the problems: 1)", ylabel="solved exactly, %", ylim=(0, 100))
    axes.set_xticks(rhos, [f"{rho:g}" for rho in rhos])
    axes.minorticks_off()
    axes.set_xlim(rhos[0] / 1.2, rhos[-1] * 7)
    axes.grid(axis="y")
    return figure
