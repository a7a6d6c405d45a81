r"""Faults found in public codes of ADMM pruning, made on purpose, to be measured: none of these is for use.

In all of them Z, and U but for what is said, are those of ADMM.
"""

import torch

from .admm import ADMM
from .pairs import Pair
from .schedules import check_rho


class UnsquaredNorm(ADMM):
    r"""The penalty sum_i rho_i ||W_i - Z_i + U_i||, its square forgotten: the pull is as strong far as near.

    The gradient is rho D / ||D|| with D = W - Z + U, and 0 where D = 0, as torch has it for `norm`; of
    `D.square().sum().sqrt()` it is NaN there.
    """

    @torch.no_grad()
    def add_penalty_gradient(self) -> None:
        """Add rho D / ||D||."""
        self._still_open()
        self._with_gradients()
        for pair in self._pairs:
            D = self._layers.join(pair.layers) - pair.Z + pair.U
            D *= pair.rho / max(D.norm().item(), torch.finfo(D.dtype).tiny)
            for i, piece in zip(pair.layers, self._layers.split(pair.layers, D), strict=True):
                self._layers.parameter(i).grad += piece

    def penalty(self) -> torch.Tensor:
        """sum_i rho_i ||D_i||, with a graph."""
        total = torch.zeros(())
        for pair in self._pairs:
            W = torch.cat([self._layers.parameter(i).reshape(-1) for i in pair.layers])
            target = (pair.Z - pair.U).reshape(-1)
            total = total.to(target) + pair.rho * (W - target).norm()
        return total


class KeptGraph(ADMM):
    r"""U <- U + W - Z without detaching W: after k updates U depends on W k times over.

    The penalty's gradient is (1 + k) rho (W - Z + U): a rho that grows, with a U that is not rescaled for it.
    """

    @torch.no_grad()
    def add_penalty_gradient(self) -> None:
        """Add (1 + k) rho (W - Z + U)."""
        for _ in range(1 + self.iteration):
            super().add_penalty_gradient()

    def penalty(self) -> torch.Tensor:
        """(1 + k) times ADMM's."""
        return (1 + self.iteration) * super().penalty()


class NotRescaled(ADMM):
    """U stays as it is when rho changes, so that the dual rho U jumps with it."""

    @staticmethod
    def _rescale(pair: Pair, rho: float) -> None:
        pair.rho = check_rho(rho)
