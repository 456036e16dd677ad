"""A sampler that goes through configurations that are known already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from lyapopt.errors import UserError
from lyapopt.search._optuna import contains, logical_number


class GivenSampler(BaseSampler):
    """The n-th trial gets the n-th parameters, whoever runs it and however often.

    Args:
        params: The parameters of each trial, by its logical number.

    Example:
        >>> sampler = GivenSampler([{"x": 0.25}, {"x": 0.5}])
        >>> study = optuna.create_study(sampler=sampler)
        >>> [study.ask().suggest_float("x", 0, 1) for _ in range(2)]
        [0.25, 0.5]
    """

    def __init__(self, params: Sequence[Mapping[str, Any]]) -> None:
        self._params = list(params)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing is sampled relatively."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing is sampled relatively."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The given value.

        Raises:
            UserError: If there is none, or it is not one of the distribution's.
        """
        number = logical_number(trial)
        given = self._params[number] if number < len(self._params) else {}
        if param_name not in given or not contains(param_distribution, given[param_name]):
            raise UserError(
                f"promote: the search space has changed; trial {number} is to be trained with "
                f"{dict(given)}, where {param_name!r} is not one of {param_distribution}"
            )
        return given[param_name]
