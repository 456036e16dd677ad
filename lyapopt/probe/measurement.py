"""What a probe returns of one system."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyapopt.exponents import Flag
from lyapopt.probe.verdicts import Verdict


@dataclass(frozen=True)
class Measurement:
    """A short-horizon measurement of one system.

    Attributes:
        exponent: Nats per step.
        low, high: Ends of its confidence interval; `None` where there is nothing to average over.
        level: Confidence level of the interval.
        estimand: What the interval is for.
        verdict: `diverged`, `hot`, `edge`, `cool` or `dead`.
        flags: What to know of the estimate before trusting it.
        losses: Loss of the reference at every step, `(horizon,)`.
        log_separations: Natural log of each neighbour's separation as if it had never been
            rescaled, `(horizon + 1, neighbours)`.
        gradient_evaluations: Gradients spent, neighbours included, a forward pass as a third.
        examples: Examples that they were computed on.
        dtype: Precision that it was measured in, which need not be that of the training.
        estimator: `neighbours` or `tangent`.
    """

    exponent: float
    low: float | None
    high: float | None
    level: float
    estimand: str
    verdict: Verdict
    flags: tuple[Flag, ...]
    losses: NDArray[np.float64]
    log_separations: NDArray[np.float64]
    gradient_evaluations: float
    examples: int
    dtype: str = "float64"
    estimator: str = "neighbours"

    @property
    def measured(self) -> str:
        """How it was measured, in words: `neighbours in float64`."""
        how = "tangents" if self.estimator == "tangent" else self.estimator
        return f"{how} in {self.dtype}"
