"""The base of samplers that wrap another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState


class WrappingSampler(BaseSampler):
    """Passes all that Optuna asks on to a wrapped sampler; a subclass overrides what it decides.

    Args:
        base: The wrapped sampler, any of Optuna's.
    """

    def __init__(self, base: BaseSampler) -> None:
        self._base = base

    @property
    def base(self) -> BaseSampler:
        """The wrapped sampler."""
        return self._base

    def reseed_rng(self) -> None:
        """Reseed the wrapped sampler."""
        self._base.reseed_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The wrapped sampler's space."""
        return self._base.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the wrapped sampler draws."""
        return self._base.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """What the wrapped sampler draws."""
        return self._base.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Let the wrapped sampler prepare."""
        self._base.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Show the wrapped sampler the result."""
        self._base.after_trial(study, trial, state, values)


def wrapped_samplers(sampler: object) -> Iterator[BaseSampler]:
    """A sampler, the one that it wraps, and so on inwards.

    By the attribute `base`, not by the class `WrappingSampler`: samplers of others may wrap, too.
    """
    while isinstance(sampler, BaseSampler):
        yield sampler
        sampler = getattr(sampler, "base", None)
