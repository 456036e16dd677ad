"""What a probe returns of one system."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyapopt.exponents import Flag
from lyapopt.probe.verdicts import Verdict


@dataclass(frozen=True)
class Measurement:
    """A short-horizon measurement of one system.

    Attributes:
        exponent: The settled exponent, nats per step: growth after the neighbours have turned into
            the growing direction (see `lyapopt.probe.settled`).
        low, high: Ends of its confidence interval; `None` where there is nothing to average over.
        level: Confidence level of the interval.
        estimand: What exponent and interval are for.
        verdict: `diverged`, `dead`, `hot`, `edge`, `neutral` or `contracting`; of losses alone
            `diverged`, `dead` or `slow`.
        flags: What to know of the estimate before trusting it.
        losses: Loss of the reference at every step, `(horizon,)`.
        log_separations: Natural log of each neighbour's separation as if it had never been
            rescaled, `(horizon + 1, neighbours)`.
        gradient_evaluations: Gradients spent, neighbours included, a forward pass as a third.
        examples: Examples that they were computed on.
        dtype: Precision that it was measured in, which need not be that of the training.
        estimator: `neighbours` or `tangent`.
        loss_fall: Share of the first loss by which the loss has fallen (see `relative_fall`); NaN
            where there is none.
        slow: Whether that is too little.
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
    loss_fall: float = math.nan
    slow: bool = False

    @property
    def is_of_losses(self) -> bool:
        """Whether no neighbours were run, so that there is no exponent."""
        return int(self.log_separations.shape[1]) == 0

    @property
    def measured(self) -> str:
        """How it was measured, in words: `neighbours in float64`."""
        how = "tangents" if self.estimator == "tangent" else self.estimator
        return f"{how} in {self.dtype}"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and same_values(self, other)


def same_values(one: Any, other: Any) -> bool:
    """Whether all fields of two objects of a dataclass are equal, arrays and tables included.

    Example:
        >>> @dataclass
        ... class Losses:
        ...     values: NDArray[np.float64]
        >>> same_values(Losses(np.array([1.0, np.nan])), Losses(np.array([1.0, np.nan])))
        True
    """
    names = [each.name for each in fields(one)]
    return all(_same(getattr(one, name), getattr(other, name)) for name in names)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=True)
    if hasattr(a, "equals"):  # of pandas
        return bool(a.equals(b))
    return bool(a == b or (a != a and b != b))
