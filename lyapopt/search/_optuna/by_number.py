"""What goes by Optuna's number of a trial, or reads the storage past the study, put in order.

After an interruption a trial has another number in Optuna than its logical one, and the storage has
tries that do not count.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from lyapopt.search._optuna.history import OrderedStudy, logical_number


def ordered(study: optuna.Study) -> OrderedStudy:
    """The same study, with a sampler and a pruner that see what an `OrderedStudy` shows."""
    found = OrderedStudy.of(study)
    for pruner in wrapped_pruners(found.pruner):
        if isinstance(pruner, optuna.pruners.HyperbandPruner):
            _order_brackets(pruner, found)
    for sampler in nested_samplers(found.sampler):
        if isinstance(sampler, optuna.samplers.BruteForceSampler):
            _order_search(sampler)
        elif isinstance(sampler, optuna.samplers.CmaEsSampler):
            _order_seeds(sampler)
    return found


def nested_samplers(sampler: object) -> Iterator[BaseSampler]:
    """A sampler, the one that it wraps, and so on inwards."""
    while isinstance(sampler, BaseSampler):
        yield sampler
        sampler = getattr(sampler, "base", None) or getattr(sampler, "_base_sampler", None)


def _order_search(sampler: optuna.samplers.BruteForceSampler) -> None:
    """Let a brute-force search take the points of tries that do not count for free.

    It reads the storage itself, so as to see the trials of all brackets of Hyperband.
    """
    sample, after = sampler.sample_independent, sampler.after_trial

    def as_shown(study: optuna.Study) -> Any:
        def get_all_trials(
            study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
        ) -> list[FrozenTrial]:
            return study._get_trials(deepcopy, states)

        storage = SimpleNamespace(get_all_trials=get_all_trials)
        return SimpleNamespace(_storage=storage, _study_id=study._study_id, stop=study.stop)

    own: Any = sampler
    own.sample_independent = lambda study, *args: sample(as_shown(study), *args)
    own.after_trial = lambda study, *args: after(as_shown(study), *args)


def _order_seeds(sampler: optuna.samplers.CmaEsSampler) -> None:
    """Let CMA-ES, which adds a trial's number to its seed, add the logical one."""
    sample = sampler.sample_relative

    def sample_relative(
        study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        numbered = copy.copy(trial)
        numbered.number = logical_number(trial)
        return sample(study, numbered, dict(search_space))

    own: Any = sampler
    own.sample_relative = sample_relative


def wrapped_pruners(pruner: object) -> Iterator[BasePruner]:
    """A pruner, the one that it wraps, and so on inwards.

    Ours, and those of others that are made like them, show it as `wrapped`; Optuna's
    `PatientPruner` keeps it to itself.
    """
    while isinstance(pruner, BasePruner):
        yield pruner
        pruner = getattr(pruner, "wrapped", None) or getattr(pruner, "_wrapped_pruner", None)


def _order_brackets(pruner: optuna.pruners.HyperbandPruner, study: OrderedStudy) -> None:
    """Let Hyperband place trials by logical number, and its brackets see the ordered history.

    It takes a trial's bracket from Optuna's number, and the study that it shows to a bracket reads
    the storage without asking ours.
    """
    bracket_of, create = pruner._get_bracket_id, pruner._create_bracket_study

    def bracket_id(any_study: optuna.Study, trial: FrozenTrial) -> int:
        placed = copy.copy(trial)
        placed.number = logical_number(trial)
        return bracket_of(any_study, placed)

    def bracket_study(any_study: optuna.Study, bracket: int) -> optuna.Study:
        made: Any = create(any_study, bracket)

        def get_trials(
            deepcopy: bool = True, states: Container[TrialState] | None = None
        ) -> list[FrozenTrial]:
            trials = study._get_trials(deepcopy, states)
            return [trial for trial in trials if bracket_id(made, trial) == bracket]

        made._get_trials, made.get_trials = study._get_trials, get_trials
        return made  # type: ignore[no-any-return]  # what Optuna makes is typed as Any

    own: Any = pruner
    own._get_bracket_id, own._create_bracket_study = bracket_id, bracket_study


def bracket_study(study: optuna.Study) -> optuna.Study:
    """The study as pruners and samplers see it inside a Hyperband bracket: most of it is hidden."""
    hyperband = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9)
    hyperband._try_initialization(study)
    hyperband._n_brackets = 1
    hyperband._trial_allocation_budgets = [1]
    hyperband._total_trial_allocation_budget = 1
    inner = optuna.Study(study.study_name, study._storage, study.sampler, hyperband)
    return hyperband._create_bracket_study(inner, 0)
