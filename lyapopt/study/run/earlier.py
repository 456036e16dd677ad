"""`warm_start`: trials of another study that a sampler begins with.

They are copied when the study begins, as system attributes of it, so that what becomes of the other
study changes nothing. They are not trials of the study: only its sampler sees them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import optuna
from optuna.trial import FrozenTrial, TrialState

from lyapopt.errors import UserError
from lyapopt.search import SearchSpace
from lyapopt.search._optuna import (
    close_storage,
    contains,
    earlier_trials,
    get_study_attribute,
    set_study_attribute,
)
from lyapopt.space import SeedParameter
from lyapopt.store import RecordNotFoundError
from lyapopt.study.file import StudyFile
from lyapopt.study.file.load import mistake
from lyapopt.study.file.values import warm_start_parts
from lyapopt.study.run import assembly
from lyapopt.study.run.choices import known_digest
from lyapopt.study.run.storage import open_storage, reading_study

__all__ = [
    "Earlier",
    "as_trials",
    "check_warm_start",
    "expected",
    "is_kept",
    "keep",
    "kept_trials",
    "read",
]

Earlier = list[tuple[dict[str, Any], list[float]]]
"""Parameters and values of each trial."""

MOST: Final = 500
"""Trials that are copied: the last ones."""
_ATTRIBUTE: Final = "lyapopt:warm_start"
_PART: Final = 50  # trials an attribute: MySQL keeps 64 kB in one


def read(file: StudyFile, space: SearchSpace) -> Earlier:
    """The completed trials of the study that `warm_start` names, as far as they fit.

    A trial fits that has a value in range for every parameter which it needs here, and what is
    fixed here where it had a choice.

    Args:
        file: A validated study file.
        space: Its search space.

    Returns:
        At most `MOST`, in their order; none if the file has no `warm_start`.

    Raises:
        UserError: If there is no such study, its values have other directions, or nothing fits.
    """
    if file.warm_start is None:
        return []
    url, name = warm_start_parts(file.warm_start)
    if name == file.study_name and url == file.storage:
        raise _mistake(file, f"study {name!r} is this study itself; name another one")
    try:
        study = optuna.load_study(study_name=name, storage=open_storage(url, create=False))
    except KeyError:
        raise _mistake(file, f"there is no study {name!r} in that storage") from None
    except RecordNotFoundError as error:
        raise _mistake(file, str(error)) from error
    try:
        directions = [direction.name.lower() for direction in study.directions]
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    finally:
        close_storage(study)
    if directions != list(file.all_directions):
        raise _mistake(
            file,
            f"study {name!r} has directions {directions}, and this file says "
            f"{list(file.all_directions)}; name a study with the same ones",
        )
    fitting = [(params, list(t.values)) for t in trials if (params := _fit(t, file, space))]
    found = [(params, values) for params, values in fitting if all(map(math.isfinite, values))]
    if not found:
        raise _mistake(
            file,
            f"none of the {len(trials)} completed trials of study {name!r} has values of this "
            "search space; widen the space, or remove warm_start",
        )
    return found[-MOST:]


def expected(file: StudyFile, space: SearchSpace) -> tuple[list[FrozenTrial], str | None]:
    """What the next run of a file begins with; its storage is not changed.

    A study that has begun keeps its copy, whatever has become of the other study.

    Returns:
        The trials, as the sampler sees them, and what is to be said of it, if anything.

    Raises:
        UserError: As `read`, for a study that has not begun.
    """
    try:
        return as_trials(read(file, space), space), None
    except UserError as error:
        kept = _kept_in_storage(file, space)
        if kept is None:
            raise
        has = f"it began with {len(kept)} trials of then" if kept else "it goes on without them"
        return kept, f"{error}\nstudy {file.study_name!r} has begun, and needs it no longer: {has}"


def _kept_in_storage(file: StudyFile, space: SearchSpace) -> list[FrozenTrial] | None:
    """The trials that the file's study began with; `None` if it has not begun."""
    with reading_study(file.storage, file.study_name) as study:
        if study is None or known_digest(study) is None:
            return None
        return kept_trials(study, space)


def check_warm_start(file: StudyFile) -> None:
    """Refuse what `read` does, before a study is deleted to begin again.

    Raises:
        UserError: As `read` does.
    """
    read(file, assembly.search_space(file))


def keep(study: optuna.Study, earlier: Earlier) -> None:
    """Copy them to a study that is new."""
    for part in range(0, len(earlier), _PART):
        trials = earlier[part : part + _PART]
        set_study_attribute(study, f"{_ATTRIBUTE}:{part // _PART}", trials)
    set_study_attribute(study, _ATTRIBUTE, len(earlier))


def is_kept(study: optuna.Study) -> bool:
    """Whether a study began with trials of another one."""
    return bool(get_study_attribute(study, _ATTRIBUTE))


def kept_trials(study: optuna.Study, space: SearchSpace) -> list[FrozenTrial]:
    """The trials that a study began with; none for most."""
    count: Any = get_study_attribute(study, _ATTRIBUTE) or 0
    found: Earlier = []
    for part in range(math.ceil(count / _PART)):
        kept: Any = get_study_attribute(study, f"{_ATTRIBUTE}:{part}")
        found += [(params, values) for params, values in kept or ()]
    return as_trials(found, space)


def as_trials(
    earlier: Sequence[tuple[Mapping[str, Any], Sequence[float]]], space: SearchSpace
) -> list[FrozenTrial]:
    """Trials as the sampler of a study sees them; those that its space no longer holds left out."""
    known = space.distributions
    return earlier_trials(
        [(p, v) for p, v in earlier if all(n in known and contains(known[n], p[n]) for n in p)],
        known,
    )


def _mistake(file: StudyFile, message: str) -> UserError:
    return mistake(file, ("warm_start",), message)


def _fit(trial: FrozenTrial, file: StudyFile, space: SearchSpace) -> dict[str, Any] | None:
    """What a trial says of this search space; `None` if it is none of its points."""
    fixed = file.fixed_params()
    if any(
        name in fixed and fixed[name] != value
        for name, value in trial.params.items()
        if name not in file.variables
    ):
        return None
    params: dict[str, Any] = {}
    for name, parameter in file.variables.items():
        if isinstance(parameter, SeedParameter) or not parameter.is_active({**fixed, **params}):
            continue
        if name not in trial.params or not contains(space.distributions[name], trial.params[name]):
            return None
        params[name] = trial.params[name]
    return params
