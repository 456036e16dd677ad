"""Whether a growth rate has settled, or still drifts."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapopt.exponents.intervals import has_interval_over_time, mean_interval_over_time

_LEVEL = 0.997  # three standard errors, with the few degrees of freedom allowed for
_RELATIVE = 0.01


def half_means(increments: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean growth per step over the first and the second half of the segments, each `(...)`."""
    middle = len(increments) // 2
    return (
        increments[:middle].sum(0) / steps[:middle].sum(),
        increments[middle:].sum(0) / steps[middle:].sum(),
    )


def drifts(increments: Tensor, steps: Tensor) -> Tensor:
    """Where the two halves differ by more than chance and by more than 1 % of the value.

    The error is estimated on the second half alone, because a transient in the first one would
    hide itself by adding to its spread.

    Args:
        increments: `(segments, ...)`.
        steps: `(segments,)`.

    Returns:
        Booleans, `(...)`; false where the halves are too short to tell.

    Source: after Geweke 1992, Bayesian Statistics 4, 169.
    """
    middle = len(increments) // 2
    first, second = half_means(increments, steps)
    if not has_interval_over_time(len(increments) - middle):
        return torch.zeros_like(first, dtype=torch.bool)
    low, high = mean_interval_over_time(increments[middle:], steps[middle:], _LEVEL)
    chance = (high - low) / 2 * 2**0.5
    rounding = 64 * torch.finfo(increments.dtype).eps
    negligible = _RELATIVE * torch.maximum(first.abs(), second.abs()) + rounding
    return (first - second).abs() > chance + negligible
