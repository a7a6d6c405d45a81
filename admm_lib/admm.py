r"""ADMM for network compression: the algorithm, and nothing of training.

    minimize f(W) subject to W_i in S_i   is solved by splitting, W_i = Z_i with Z_i in S_i, and repeating

    W-step   minimize  f(W) + sum_i rho_i / 2 ||W_i - Z_i + U_i||^2        (the user's own optimizer)
    Z-step   Z_i <- projection of W_i + U_i onto S_i
    U-step   U_i <- U_i + W_i - Z_i

Sources: Boyd et al. 2011, Section 3.1.1 (scaled form); 1804.03294, Section 4; 1811.01907, Section 3.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .constraints import Constraint
from .layers import Layers, distance
from .pairs import Key, Pair, check_together, holder, paired
from .schedules import Schedule, balancing, check_rho


class Residuals(NamedTuple):
    """One ADMM iteration of one layer: primal ||W - Z||, dual rho ||Z+ - Z||, ||W||, and the rho used."""

    primal: float
    dual: float
    norm: float
    rho: float


class ADMM:
    r"""ADMM over the named layers of `model`; see the module's docstring for the three steps.

    `constraints` maps a layer's name, or a tuple of names (one budget over them), to a set or a list of
    sets (one (Z, U) pair each). `rho` > 0 is a number or a dict by the same keys. `schedule(t)` gives the
    factor on rho after update t (see `geometric`); `balance=mu` moves each rho by residual balancing
    instead. A layer already held by a mask stays inside it (masked ADMM). Of sets that say which values
    there are a layer has one at most, beside budgets; over several layers its values do not train later.

    Raises ValueError for no constraint, an unknown layer (with the nearest name) or one held by more than a
    mask, a set that does not fit its layer, a rho that is not positive, `balance` <= 1 or beside `schedule`,
    and weights that are not finite.

    >>> model = nn.Linear(4, 3)
    >>> al.ADMM(model, {"weight": al.Sparse(keep=5)}, rho=0.01).finalize()  # after `fit(..., admm=...)`
    >>> int(model.weight.count_nonzero())
    5
    """

    def __init__(
        self,
        model: nn.Module,
        constraints: Mapping[Key, Constraint | Sequence[Constraint]],
        rho: float | Mapping[Key, float] = 1e-3,
        schedule: Schedule | None = None,
        balance: float | None = None,
    ) -> None:
        if not isinstance(constraints, Mapping) or not constraints:
            raise ValueError('no constraints: give at least one, such as {"fc1.weight": Sparse(ratio=10)}')
        if schedule is not None and balance is not None:
            raise ValueError("schedule= and balance= both set rho: give one of them")
        if balance is not None and not balance > 1:
            raise ValueError(f"balance is a ratio of residuals above 1 (10 is usual), but is {balance}")
        if isinstance(rho, Mapping) and set(rho) != set(constraints):
            odd = ", ".join(sorted(map(str, set(rho) ^ set(constraints))))
            raise ValueError(f"rho as a dict needs the keys of the constraints; {odd} is in only one of them")
        self.schedule, self.balance = schedule, balance
        self.iteration = 0
        self.history: list[dict[Key, Residuals]] = []
        self._finished = False
        self._layers = Layers(model)
        self._pairs = [
            paired(self._layers, key, each, rho.get(key) if isinstance(rho, Mapping) else rho)
            for key, sets in constraints.items()
            for each in (sets if isinstance(sets, (list, tuple)) and sets else [sets])
        ]
        check_together(self._pairs, self._layers)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        values = self._layers.values()
        self._layers.assign(values)  # whatever lay under a mask is zero from here on
        for pair in self._pairs:
            W = self._layers.join(pair.layers, values)
            pair.Z, pair.U = self._project(pair, W), torch.zeros_like(W)
        self._follow_schedule()
        self._refresh()

    def belongs_to(self, model: nn.Module) -> bool:
        """Whether every constrained layer is part of `model`."""
        return self._layers.part_of(model)

    def _project(self, pair: Pair, value: Tensor) -> Tensor:
        """The nearest point of the pair's set; in masked layers, zero where the mask is."""
        nearest = pair.constraint.project(value)
        for i, piece in zip(pair.layers, self._layers.split(pair.layers, nearest), strict=True):
            mask = self._layers.mask(i)
            if mask is not None:
                piece.masked_fill_(~mask, 0)
        return nearest

    @torch.no_grad()
    def _refresh(self) -> None:
        """Per layer, the sums that the penalty's gradient needs: sum_j rho_j and sum_j rho_j (U_j - Z_j)."""
        self._rho = [0.0] * len(self._layers)
        self._pull = []  # before the next ones are made: each is as large as its layer
        self._pull = [torch.zeros_like(weight) for weight in self._layers.parameters()]
        for pair in self._pairs:
            for i, piece in zip(pair.layers, self._layers.split(pair.layers, pair.U - pair.Z), strict=True):
                self._rho[i] += pair.rho
                self._pull[i].add_(piece, alpha=pair.rho)

    @property
    def Z(self) -> dict[Key, list[Tensor]]:
        """The auxiliary variables by key, one per set, flattened and joined for a tuple of layers."""
        return self._by_key(lambda pair: pair.Z)

    @property
    def U(self) -> dict[Key, list[Tensor]]:
        """The scaled duals by key, one per set, laid out like Z."""
        return self._by_key(lambda pair: pair.U)

    def _by_key(self, pick: Callable[[Pair], Tensor]) -> dict[Key, list[Tensor]]:
        found: dict[Key, list[Tensor]] = {}
        for pair in self._pairs:
            found.setdefault(pair.key, []).append(pick(pair))
        return found

    @property
    def rho(self) -> dict[Key, float]:
        """The penalty parameter in force, by key."""
        return {pair.key: pair.rho for pair in self._pairs}

    def _still_open(self) -> None:
        if self._finished:
            raise RuntimeError("this ADMM is finalized: train on without it, or make a new one")

    @torch.no_grad()
    def add_penalty_gradient(self) -> None:
        """Add rho (W - Z + U) to each constrained layer's gradient: call between backward() and step().

        The same as adding `penalty()` to the loss, without its graph. Raises RuntimeError where a layer
        has no gradient yet, and after `finalize`.
        """
        self._still_open()
        weights = self._with_gradients()
        for rho in set(self._rho):  # one fused call per distinct rho, not per layer
            chosen = [i for i, each in enumerate(self._rho) if each == rho]
            grads = [weights[i].grad for i in chosen]
            torch._foreach_add_(grads, [weights[i] for i in chosen], alpha=rho)
            torch._foreach_add_(grads, [self._pull[i] for i in chosen])

    def _with_gradients(self) -> list[nn.Parameter]:
        weights = self._layers.parameters()
        for name, weight in zip(self._layers.names, weights, strict=True):
            if weight.grad is None:
                remedy = "call loss.backward() first" if weight.requires_grad else "it is frozen, unfreeze it"
                raise RuntimeError(f"{name} has no gradient: {remedy}")
            if weight.grad.is_sparse:
                raise RuntimeError(f"{name} has a sparse gradient, and ADMM moves every weight: sparse=False")
        return weights

    def penalty(self) -> Tensor:
        """The penalty itself, sum_i rho_i / 2 ||W_i - Z_i + U_i||^2, as a scalar with a graph."""
        total = torch.zeros(())
        for pair in self._pairs:
            pieces = self._layers.split(pair.layers, pair.Z - pair.U)
            for i, target in zip(pair.layers, pieces, strict=True):
                total = total.to(target) + pair.rho / 2 * (self._layers.parameter(i) - target).square().sum()
        return total

    @torch.no_grad()
    def update(self) -> dict[Key, Residuals]:
        """One Z-step and U-step, then rho's schedule or balancing; residuals by key (the worst of its sets).

        Raises ValueError, naming the layer, for weights that are not finite; nothing is changed then;
        RuntimeError after `finalize`.
        """
        self._still_open()
        self._layers.check_finite()
        if self.schedule is not None:
            check_rho(self.schedule(self.iteration + 1))
        residuals: dict[Key, Residuals] = {}
        for pair in self._pairs:
            W = self._layers.join(pair.layers)
            target = W + pair.U
            Z = self._project(pair, target)
            primal, moved = distance(W, Z), distance(Z, pair.Z)
            # U + W - Z; without one more copy of a large layer, unless the set gave back what it was given.
            same = Z.untyped_storage().data_ptr() == target.untyped_storage().data_ptr()
            pair.Z, pair.U = Z, pair.U + (W - Z) if same else target.sub_(Z)
            measured = Residuals(primal, pair.rho * moved, W.norm().item(), pair.rho)
            del W, target, Z
            worst = residuals.get(pair.key)
            residuals[pair.key] = measured if worst is None else max(worst, measured)
            if self.balance is not None:
                self._rescale(pair, pair.rho * balancing(measured.primal, measured.dual, self.balance))
        self.iteration += 1
        self.history.append(residuals)
        self._follow_schedule()
        self._refresh()
        return residuals

    def _follow_schedule(self) -> None:
        for pair in self._pairs if self.schedule is not None else ():
            self._rescale(pair, pair.base * self.schedule(self.iteration))

    @staticmethod
    def _rescale(pair: Pair, rho: float) -> None:
        """Change rho and keep the unscaled dual rho U: U is multiplied by rho_old / rho_new."""
        rho = check_rho(rho)
        pair.U = pair.U * (pair.rho / rho)
        pair.rho = rho

    def state_dict(self) -> dict[str, Any]:
        """All that moves while ADMM runs, for a checkpoint: Z, U, rho and what was measured."""
        pairs = [(pair.Z, pair.U, pair.rho, pair.base) for pair in self._pairs]
        history = [{key: tuple(each) for key, each in residuals.items()} for residuals in self.history]
        return {"iteration": self.iteration, "sets": self._sets(), "pairs": pairs, "history": history}

    def _sets(self) -> list[str]:
        return [f"{pair.key}: {pair.constraint!r}" for pair in self._pairs]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()` of an ADMM over the same sets; ValueError for another one's."""
        shapes = [Z.shape for Z, *_ in state.get("pairs", [])]
        whole = {"iteration", "history"} <= state.keys() and self._sets() == state.get("sets")
        if not whole or shapes != [pair.Z.shape for pair in self._pairs]:
            raise ValueError("the state is of an ADMM over other layers or sets: make this one as that was")
        for pair, (Z, U, rho, base) in zip(self._pairs, state["pairs"], strict=True):
            pair.Z, pair.U, pair.rho, pair.base = Z.to(pair.Z), U.to(pair.U), rho, base
        self.iteration = state["iteration"]
        self.history = [{key: Residuals(*r) for key, r in each.items()} for each in state["history"]]
        self._refresh()

    def to(self, device: torch.device | str) -> "ADMM":
        """Move Z and U to the device the model has been moved to; returns itself."""
        for pair in self._pairs:
            pair.Z, pair.U = pair.Z.to(device), pair.U.to(device)
        self._refresh()
        return self

    def set_rho(self, rho: float) -> None:
        """Set rho > 0 of every layer by hand, else ValueError; the scaled duals are rescaled to match.

        A schedule's factor multiplies it from the next update on.
        """
        for pair in self._pairs:
            self._rescale(pair, rho)
            pair.base = pair.rho
        self._refresh()

    def _projected(self) -> list[Tensor]:
        """Each layer's weights projected onto its set, or its sets in turn; ValueError as `finalize`."""
        values = self._layers.values()
        for pair in self._pairs:
            W = self._layers.join(pair.layers, values)
            pieces = self._layers.split(pair.layers, self._project(pair, W))
            for i, piece in zip(pair.layers, pieces, strict=True):
                values[i].copy_(piece)  # a copy keeps the layout, and channels_last is what makes it fast
        for pair in self._pairs:
            W = self._layers.join(pair.layers, values)
            if not torch.equal(self._project(pair, W), W):
                raise ValueError(
                    f"{pair.key}: projecting onto its sets in turn leaves {pair.constraint} again; "
                    "put the set that keeps the others last, or use one set for both"
                )
        return values

    @contextmanager
    def projected(self) -> Iterator[None]:
        """Inside, the model has its projected weights: what accuracy counts. ValueError as `finalize`."""
        saved = [weight.detach().clone() for weight in self._layers.parameters()]
        try:
            self._layers.assign(self._projected())
            yield
        finally:
            self._layers.assign(saved)

    @torch.no_grad()
    def finalize(self) -> None:
        """W <- projection of W, held there by a parametrization that replaces any earlier one.

        What trains in the place of a weight then, such as a codebook, is a new parameter, for a new
        optimizer; under a mask it is the same one. The end of this ADMM: raises RuntimeError when called
        again. ValueError where weights are not finite, or projecting onto several sets in turn leaves one of
        them.
        """
        self._still_open()
        for i, value in enumerate(self._projected()):
            self._layers.hold(i, value, holder([pair for pair in self._pairs if i in pair.layers], value))
        self._finished = True
