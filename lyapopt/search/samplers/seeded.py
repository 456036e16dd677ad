"""A sampler whose draws follow from (study seed, trial number) alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from lyapopt.dynamics.randomness import derive_seed
from lyapopt.search._optuna import exact, logical_number, reseed
from lyapopt.search.arguments import SearchArguments
from lyapopt.search.samplers.wrapping import WrappingSampler
from lyapopt.space import SeedParameter


@runtime_checkable
class ScreensSeeds(Protocol):
    """A sampler that draws some seed parameters itself."""

    @property
    def screened_seeds(self) -> frozenset[str]:
        """Their names."""


class SeededSampler(WrappingSampler):
    """Wraps any sampler: reseeds it for every trial, and draws seed parameters itself.

    A study that is resumed makes its sampler anew, and `TPESampler(seed=0)` would then repeat its
    first draws. Reseeding for each trial makes an interrupted and resumed study draw what an
    uninterrupted one does. Seed parameters are nominal: they are kept from the wrapped sampler.
    Real numbers with a step are the decimals of their grid, .3 and not .30000000000000004.

    Args:
        base: Any Optuna sampler.
        seed: Study seed.
        seeds: Seed parameters by name.

    Example:
        >>> sampler = SeededSampler(optuna.samplers.RandomSampler(), seed=0)
        >>> study = optuna.create_study(sampler=sampler)
        >>> study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    """

    def __init__(
        self,
        base: BaseSampler,
        seed: int,
        seeds: Mapping[str, SeedParameter] | None = None,
    ) -> None:
        check = SearchArguments("SeededSampler")
        check.sampler(base, is_needed=True)
        seed = check.whole("seed", seed)
        mapping = "a mapping of names to SeedParameters"
        check.optional(check.instance, "seeds", seeds, types=Mapping, expected=mapping)
        for name, parameter in (seeds or {}).items():
            check.instance(f"seeds[{name!r}]", parameter, SeedParameter, "a SeedParameter")
        super().__init__(base)
        self._seed = seed
        self._seeds = dict(seeds or {})

    def reseed_rng(self) -> None:
        """Do nothing: every trial is reseeded anyway, from its number."""

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The wrapped sampler's space without the seeds, unless it screens them."""
        space = self._base.infer_relative_search_space(study, trial)
        kept = self._base.screened_seeds if isinstance(self._base, ScreensSeeds) else frozenset()
        return {n: d for n, d in space.items() if n not in self._seeds or n in kept}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """What the wrapped sampler draws together."""
        drawn = self._base.sample_relative(study, trial, search_space)
        return {
            name: exact(value, search_space[name]) if name in search_space else value
            for name, value in drawn.items()
        }

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A seed from (study seed, trial number, name), all else from the wrapped sampler."""
        seed = self._seeds.get(param_name)
        if seed is None:
            value = self._base.sample_independent(study, trial, param_name, param_distribution)
            return exact(value, param_distribution)
        drawn = derive_seed(self._seed, logical_number(trial), "parameter", param_name)
        return seed.seed_of(drawn)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Reseed the wrapped sampler, then let it prepare."""
        reseed(self._base, derive_seed(self._seed, logical_number(trial), "sampler"))
        self._base.before_trial(study, trial)
