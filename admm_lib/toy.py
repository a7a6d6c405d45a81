r"""Problems so small that the best answer is known: ADMM and its rivals, exactly, many at once.

A problem has `loss`, `gradient` and the exact W-step, `w_step(target, rho)` = argmin_W f(W) +
rho/2 ||W - target||^2 with target = Z - U. Weights are rows (..., d); every function works on
batches of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .constraints import Constraint, OneOf, Sparse


class Problem(Protocol):
    """What the solvers below ask of a problem."""

    def loss(self, W: Tensor) -> Tensor:
        """f(W), a scalar."""

    def gradient(self, W: Tensor) -> Tensor:
        """df / dW, in the shape of W; one of the slopes at a kink."""

    def w_step(self, target: Tensor, rho: float) -> Tensor:
        """argmin_W f(W) + rho / 2 ||W - target||^2."""


@dataclass(frozen=True)
class Kinked:
    r"""One weight whose loss is a parabola around `minimum`, of other curvature on its two sides.

    f(w) = left/2 (w - minimum)^2 below the minimum and right/2 (w - minimum)^2 above it.
    """

    minimum: float = 0.2
    left: float = 1.0
    right: float = 4.0

    def _curvature(self, W: Tensor) -> Tensor:
        return torch.where(self.minimum < W, self.right, self.left).to(W)

    def loss(self, W: Tensor) -> Tensor:
        """f, summed over the last axis."""
        return (self._curvature(W) / 2 * (W - self.minimum).square()).sum(-1)

    def gradient(self, W: Tensor) -> Tensor:
        """df/dW, shaped like W."""
        return self._curvature(W) * (W - self.minimum)

    def w_step(self, target: Tensor, rho: float) -> Tensor:
        """The minimizer lies between minimum and target, so the target's side decides."""
        curvature = self._curvature(target)
        return (curvature * self.minimum + rho * target) / (curvature + rho)


@dataclass(frozen=True)
class Quadratic:
    r"""f(W) = 1/2 (W - centre)^T H (W - centre).

    H is (..., d, d), positive definite; centre is (..., d); leading axes are a batch of problems.
    """

    H: Tensor
    centre: Tensor

    def loss(self, W: Tensor) -> Tensor:
        """f of each row."""
        return (self.gradient(W) * (W - self.centre)).sum(-1) / 2

    def gradient(self, W: Tensor) -> Tensor:
        """H (W - centre)."""
        return (self.H @ (W - self.centre).unsqueeze(-1)).squeeze(-1)

    def w_step(self, target: Tensor, rho: float) -> Tensor:
        """Solve (H + rho I) W = H centre + rho target, by the eigenvectors of H: any rho at no cost."""
        values, vectors = self._eigen
        right = (self.H @ self.centre.unsqueeze(-1)).squeeze(-1) + rho * target
        scaled = (vectors.mT @ right.unsqueeze(-1)) / (values + rho).unsqueeze(-1)
        return (vectors @ scaled).squeeze(-1)

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        return tuple(torch.linalg.eigh(self.H))

    @property
    def curvature(self) -> Tensor:
        """The largest eigenvalue of H, (..., 1): gradient steps above 2 / curvature diverge."""
        return self._eigen[0][..., -1:]

    def refit(self, mask: Tensor) -> Tensor:
        """The best weights that are zero outside `mask` (..., d)."""
        inside = mask.to(self.H)
        H = self.H * inside.unsqueeze(-1) * inside.unsqueeze(-2) + torch.diag_embed(1 - inside)
        right = (self.H @ self.centre.unsqueeze(-1)).squeeze(-1) * inside
        return torch.linalg.solve(H, right.unsqueeze(-1)).squeeze(-1)


class Path(NamedTuple):
    """ADMM's variables after 0, 1, ... rounds, (rounds + 1, ..., d), and the rho of each round."""

    W: Tensor
    Z: Tensor
    U: Tensor
    rho: list[float]

    @property
    def primal(self) -> Tensor:
        """||W - Z|| after each round."""
        return (self.W - self.Z)[1:].norm(dim=-1)

    @property
    def dual(self) -> Tensor:
        """rho ||Z+ - Z|| of each round."""
        moved = (self.Z[1:] - self.Z[:-1]).norm(dim=-1)
        return moved * moved.new_tensor(self.rho).reshape(-1, *[1] * (moved.ndim - 1))

    def settled(self, tolerance: float = 1e-6) -> Tensor:
        """Whether W and Z agree, and Z has come to rest, at the end."""
        return (self.primal[-1] <= tolerance) & (self.dual[-1] <= tolerance * self.rho[-1])


def project(constraint: Constraint, rows: Tensor) -> Tensor:
    """The projection of each row; for a batch, without a Python loop."""
    if not isinstance(constraint, Sparse):
        return constraint.project(rows)
    keep = constraint.budget(rows.shape[-1])
    order = rows.abs().sort(dim=-1, descending=True, stable=True).indices  # ties: lower index first
    return torch.zeros_like(rows).scatter(-1, order[..., :keep], rows.gather(-1, order[..., :keep]))


def admm(
    problem: Problem,
    constraint: Constraint,
    rho: float | Sequence[float],
    start: Tensor,
    rounds: int,
) -> Path:
    """`rounds` rounds from Z = projection of `start`, U = 0; rho is one number or one per round.

    Where rho changes, the scaled dual is rescaled: U <- U rho_old / rho_new.
    Source: Boyd et al. 2011, Section 3.1.1.
    """
    rhos = [float(rho)] * rounds if isinstance(rho, (int, float)) else list(rho)[:rounds]
    W, Z = start, project(constraint, start)
    U = torch.zeros_like(W)
    path = [(W, Z, U)]
    for before, now in zip([*rhos[:1], *rhos], rhos, strict=False):
        U = U * (before / now)
        W = problem.w_step(Z - U, now)
        Z = project(constraint, W + U)
        U = U + W - Z
        path.append((W, Z, U))
    return Path(*(torch.stack(each) for each in zip(*path, strict=True)), rhos)


def projected_gradient(problem: Quadratic, constraint: Constraint, start: Tensor, rounds: int) -> Tensor:
    """W <- projection of W - gradient / curvature, from the projected start: (rounds + 1, ..., d).

    On a sparse set this is iterative hard thresholding.
    """
    W = [project(constraint, start)]
    for _ in range(rounds):
        W.append(project(constraint, W[-1] - problem.gradient(W[-1]) / problem.curvature))
    return torch.stack(W)


def candidates(problem: Quadratic, constraint: Constraint) -> Tensor:
    """Every point that can be the solution, (count, ..., d): refitted supports, or grid points. TypeError
    for other sets.
    """
    d = problem.H.shape[-1]
    if isinstance(constraint, Sparse):
        supports = combinations(range(d), constraint.budget(d))
        masks = [torch.zeros(d, dtype=torch.bool).index_fill(0, torch.tensor(s), True)
                 for s in supports]  # fmt: skip
        return torch.stack([problem.refit(mask.expand(problem.centre.shape)) for mask in masks])
    if isinstance(constraint, OneOf):
        return torch.tensor(list(product(constraint.levels, repeat=d)), dtype=problem.H.dtype)
    raise TypeError(f"no exhaustive search is known for {constraint!r}")


def optimum(problem: Quadratic, constraint: Constraint) -> Tensor:
    """The best point of the set, by exhaustive search; for one problem (d,) or a batch (n, d)."""
    points = candidates(problem, constraint)
    best = problem.loss(points).argmin(0)
    index = best.reshape(1, *best.shape, 1).expand(1, *points.shape[1:])
    return points.gather(0, index).squeeze(0)


def holds(problem: Problem, constraint: Constraint, point: Tensor, rho: float) -> Tensor:
    """Whether ADMM at `rho`, once it is at W = Z = `point`, stays there.

    There the W-step needs U = -gradient / rho, so the point must be the projection of
    point - gradient / rho. Projected gradient with step 1 / rho stays under the same condition.
    """
    back = project(constraint, point - problem.gradient(point) / rho)
    return (back - point).abs().amax(-1) <= 1e-9


def random_quadratics(count: int, size: int, generator: torch.Generator) -> Quadratic:
    """Least-squares problems with correlated inputs of unequal scale; their mean curvature is 1."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mixing = torch.eye(size, dtype=torch.float64) + 0.5 / size**0.5 * draw(count, size, size)
    inputs = draw(count, 2 * size, size) @ mixing * (0.5 * draw(count, 1, size)).exp()
    H = inputs.mT @ inputs
    return Quadratic(H / H.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None], draw(count, size))
