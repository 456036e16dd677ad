"""Trials as rows of numbers that a regression can read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

_MISSING = -1e3  # trees split it off; no feature comes near it


@dataclass(frozen=True)
class Observation:
    """What is known of a trial early on.

    Attributes:
        params: Its parameters.
        numbers: Early losses, exponent and the like by name; a missing one is a feature too.
    """

    params: Mapping[str, Any]
    numbers: Mapping[str, float | None]


def feature_table(
    observations: Sequence[Observation], distributions: Mapping[str, BaseDistribution]
) -> NDArray[np.float64]:
    """One row for each observation, `(observations, features)`.

    Numeric parameters on a log scale where their distribution is; categorical ones as one column a
    choice; then the numbers. What an observation does not have is a number far from all others.

    Args:
        observations: What is known of each trial.
        distributions: The distributions of the parameters to use.

    Example:
        >>> from optuna.distributions import FloatDistribution
        >>> lr = {"lr": FloatDistribution(1e-3, 1.0, log=True)}
        >>> feature_table([Observation({"lr": 1.0}, {"loss": 0.5})], lr)
        array([[0. , 0.5]])
    """
    names = sorted({name for observation in observations for name in observation.numbers})
    rows = [
        [
            *(
                value
                for name, distribution in sorted(distributions.items())
                for value in _encoded(observation.params.get(name), distribution)
            ),
            *(_number(observation.numbers.get(name)) for name in names),
        ]
        for observation in observations
    ]
    return np.array(rows, dtype=np.float64)


def _encoded(value: Any, distribution: BaseDistribution) -> list[float]:
    if isinstance(distribution, CategoricalDistribution):
        return [float(value == choice) for choice in distribution.choices]
    if value is None:
        return [_MISSING]
    return [math.log(value) if getattr(distribution, "log", False) else float(value)]


def _number(value: float | None) -> float:
    if value is None or math.isnan(value):
        return _MISSING
    return min(max(value, -1e6), 1e6)
