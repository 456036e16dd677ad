"""What is private in Optuna's samplers: generators, grids, densities."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.samplers._ga import BaseGASampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.trial import FrozenTrial, TrialState

from lyapopt.search._optuna.by_number import nested_samplers
from lyapopt.search._optuna.history import every_trial, is_superseded
from lyapopt.space import on_grid


def reseed(sampler: BaseSampler, seed: int) -> None:
    """Set every generator inside a sampler, and inside the samplers that it holds.

    `BaseSampler.reseed_rng` takes no seed, and a sampler that is made anew for a resumed study
    would repeat its first draws; so the states are found by walking over the attributes. The
    Gaussian processes of the last trial go, from which the next fit would begin: a sampler that is
    made anew has none.
    """
    for each in nested_samplers(sampler):
        if isinstance(each, optuna.samplers.GPSampler):
            each._gprs_cache_list = each._constraints_gprs_cache_list = None
    for state in _random_states(sampler, set()):
        state.rng.seed(seed % 2**32)


def _random_states(holder: object, seen: set[int]) -> Iterator[LazyRandomState]:
    if id(holder) in seen:
        return
    seen.add(id(holder))
    for value in list(getattr(holder, "__dict__", {}).values()):
        if isinstance(value, LazyRandomState):
            if id(value) not in seen:
                seen.add(id(value))
                yield value
        elif isinstance(value, BaseSampler) or _is_part_of_sampler(value):
            yield from _random_states(value, seen)


def _is_part_of_sampler(value: object) -> bool:
    """Whether an attribute is one of Optuna's own helper objects, which may hold generators."""
    return type(value).__module__.startswith("optuna.samplers")


def contains(distribution: BaseDistribution, value: object) -> bool:
    """Whether a value is one of a distribution's."""
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def exact(value: Any, distribution: BaseDistribution) -> Any:
    """The value, on its grid if it has one: samplers add up steps, and rounding errors with them.

    A value beside the grid, as someone's own sampler may draw it, stays what it is.
    """
    if not isinstance(distribution, FloatDistribution) or distribution.step is None:
        return value
    if not contains(distribution, value):
        return value
    return on_grid(value, distribution.low, distribution.step)


def grid_place(sampler: BaseSampler, number: int) -> dict[str, Any]:
    """System attributes that put a trial at its point of a grid, empty for other samplers.

    `GridSampler` begins with the point of the trial's number; after an interruption that is no
    longer the logical one.
    """
    if not isinstance(sampler, optuna.samplers.GridSampler) or number >= sampler._n_min_trials:
        return {}
    return {"grid_id": number, "search_space": sampler._search_space}


def has_value_for(sampler: BaseSampler, name: str) -> bool:
    """Whether a user has given a sampler values of a parameter: on a grid, or as a fixed one."""
    given = (
        each._search_space
        if isinstance(each, optuna.samplers.GridSampler)
        else getattr(each, "_fixed_params", {})  # of PartialFixedSampler, which is experimental
        for each in nested_samplers(sampler)
    )
    return any(name in values for values in given)


def enumerates(sampler: BaseSampler) -> bool:
    """Whether a sampler tries every value there is, which no range of real numbers allows."""
    brute = optuna.samplers.BruteForceSampler
    return any(isinstance(each, brute) for each in nested_samplers(sampler))


def grid_points_left(sampler: BaseSampler, study: optuna.Study) -> int | None:
    """Points that a `GridSampler` has not begun, or `None` for other samplers.

    Asked for more than it has left, it repeats points that are running.
    """
    if not isinstance(sampler, optuna.samplers.GridSampler):
        return None
    begun = {
        trial.system_attrs["grid_id"]
        for trial in study.get_trials(deepcopy=False)
        if "grid_id" in trial.system_attrs and not is_superseded(trial)
    }
    return sampler._n_min_trials - len(begun)


SAMPLER_ATTRIBUTE = "lyapopt:sampler"
"""System attribute of a trial: what its sampler kept in the study when it began."""


def kept_in_study(study: optuna.Study, sampler: BaseSampler) -> dict[str, Any]:
    """What samplers keep in the study: `QMCSampler` counts its draws, genetic ones note parents.

    As a system attribute of a trial that is about to begin; empty for samplers that keep nothing.
    Of what does not change once it is there, only that it is there.
    """
    prefixes = tuple(_prefixes(sampler))
    return {SAMPLER_ATTRIBUTE: _kept(study, prefixes)} if prefixes else {}


def _kept(study: optuna.Study, prefixes: tuple[str, ...]) -> dict[str, Any]:
    attrs = study._storage.get_study_system_attrs(study._study_id)
    return {
        name: value if isinstance(value, int) else True
        for name, value in attrs.items()
        if name.startswith(prefixes) and value is not None
    }


def put_back(study: optuna.Study, sampler: BaseSampler, attributes: Mapping[str, Any]) -> None:
    """Let samplers keep in the study what they did when a trial began.

    Args:
        study: The study.
        sampler: Its sampler.
        attributes: System attributes of the trial.
    """
    kept, prefixes = attributes.get(SAMPLER_ATTRIBUTE), tuple(_prefixes(sampler))
    if kept is None or not prefixes:
        return
    for name, value in _kept(study, prefixes).items():
        before = kept.get(name, None if value is True else -1)
        if before != value:
            study._storage.set_study_system_attr(study._study_id, name, before)


def _prefixes(sampler: BaseSampler) -> Iterator[str]:
    for nested in nested_samplers(sampler):
        if isinstance(nested, optuna.samplers.QMCSampler):
            yield "qmc:"
        if isinstance(nested, BaseGASampler):
            yield nested._get_parent_cache_key_prefix()


def remember_exhaustion(sampler: BaseSampler, study: optuna.Study) -> None:
    """Let a brute-force search whose last trial found nothing left say so again.

    `BruteForceSampler` stops a study when a trial has ended, and a study that is opened again
    would repeat a point.
    """
    ended = [
        trial
        for trial in every_trial(study)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]
    if isinstance(sampler, optuna.samplers.BruteForceSampler) and ended:
        sampler.after_trial(study, ended[-1], ended[-1].state, ended[-1].values)


@contextlib.contextmanager
def independent_without_warnings(sampler: BaseSampler) -> Iterator[None]:
    """Independent draws inside, of which a sampler and those that it holds say nothing.

    Optuna says at every single draw that it was not relative, to a user who has asked for none.
    """
    flag = "_warn_independent_sampling"
    warning = [each for each in nested_samplers(sampler) if getattr(each, flag, False)]
    for each in warning:
        setattr(each, flag, False)
    try:
        yield
    finally:
        for each in warning:
            setattr(each, flag, True)


def draw_relative(
    sampler: BaseSampler,
    study: optuna.Study,
    trial: FrozenTrial,
    space: dict[str, BaseDistribution],
    count: int,
) -> list[dict[str, Any]]:
    """Draw a sampler's relative parameters `count` times.

    `TPESampler` would fit its estimators to the whole history for each; here it does so once. The
    first draw is what it would give, the most promising of many from its density of good trials;
    the others are draws from that density.
    """
    if type(sampler) is not optuna.samplers.TPESampler or sampler._group:
        return [sampler.sample_relative(study, trial, space) for _ in range(count)]
    good: list[Any] = []
    once = copy.copy(sampler)  # with the same generator; threads do not see the attribute below

    def remember(samples: Any, below: Any, above: Any) -> Any:
        good.append(below)
        return sampler._compute_acquisition_func(samples, below, above)

    setattr(once, "_compute_acquisition_func", remember)  # noqa: B010 (mypy refuses to assign to a method)
    drawn = [once.sample_relative(study, trial, space)]
    if not good or count == 1:  # still in its random start
        return drawn * count
    samples = good[0].sample(sampler._rng.rng, count - 1)
    others = [
        {name: d.to_external_repr(samples[name][k].item()) for name, d in space.items()}
        for k in range(count - 1)
    ]
    return drawn + others
