"""What a probe's steps left behind."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lyapopt.exponents import Exponent
from lyapopt.probe.standstill import stand_still


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
        """Which systems are dead (see `stand_still`).

        Args:
            radius: Separation of the neighbours.
        """
        assert self.exponent.losses is not None
        return stand_still(
            self.exponent.log_separations,
            self.exponent.losses,
            self.tail_weights,
            self.final_weights,
            radius,
        )
