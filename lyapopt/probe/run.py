"""References and neighbours after a probe's horizon, and whether anything still moves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lyapopt.exponents import Exponent
from lyapopt.probe.verdicts import tail_length

_ROUNDINGS = 16  # how many roundings still count as standing still
_RESOLVED = 1e-2  # separations with a larger rounding error say nothing


@dataclass(frozen=True)
class ProbeRun:
    """What a probe's steps left behind.

    Attributes:
        exponent: The exponents, with losses and separations.
        tail_weights: Weights of the references a quarter of the horizon before its end, `(M, P)`.
        final_weights: Their weights at its end, `(M, P)`.
    """

    exponent: Exponent
    tail_weights: Tensor
    final_weights: Tensor

    def stands_still(self, radius: float) -> list[bool]:
        """Which systems are dead: nothing but rounding has changed over the last quarter.

        Separations must be equal, and so must weights or losses: a training that has converged
        stands still too, but its separations shrink.

        Args:
            radius: Separation of the neighbours.
        """
        eps = torch.finfo(self.final_weights.dtype).eps
        norms: Tensor = torch.linalg.vector_norm(self.final_weights, dim=-1)
        rounding = _ROUNDINGS * eps * (1 + norms / radius)
        log = self.exponent.log_separations[-tail_length(self.exponent.horizon) - 1 :]
        spread = (log - log[:1]).abs().amax((0, 2)).to(norms)
        frozen = (spread <= rounding) & (rounding < _RESOLVED)
        return (frozen & (self._keeps_weights(eps) | self._keeps_losses(eps))).tolist()

    def _keeps_weights(self, eps: float) -> Tensor:
        moved = (self.final_weights - self.tail_weights).abs()
        return (moved <= 4 * eps * self.final_weights.abs()).all(-1)

    def _keeps_losses(self, eps: float) -> Tensor:
        assert self.exponent.losses is not None
        losses = self.exponent.losses[-tail_length(self.exponent.horizon) - 1 :, :, 0]
        span = losses.amax(0) - losses.amin(0)
        return span <= 8 * eps * losses.abs().amax(0)
