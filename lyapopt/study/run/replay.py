"""A trial of a study trained again, in memory: does it come out the same?

Stacks of another size are computed in another order, so that the whole group of the trial is
trained again, with the parameters and the history that it had; then the same machine with the same
versions gives the same bits. Nothing is written to the study.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import optuna
from optuna.trial import FrozenTrial
from torch import nn

from lyapopt.dynamics.threads import one_thread
from lyapopt.errors import UserError
from lyapopt.interruption import finishing
from lyapopt.search import Candidate, attributes
from lyapopt.search._optuna import (
    NUMBER_ATTRIBUTE,
    begin_trial,
    create_trial,
    frozen,
    get_study_attribute,
    inside_optimize,
    logical_number,
    ordered,
)
from lyapopt.store.states import state_of
from lyapopt.study.file import StudyFile, study_of_definition
from lyapopt.study.naming import DEFINITION, PROMOTED_SUFFIX
from lyapopt.study.run import assembly
from lyapopt.study.run.choices import known_digest, with_choices
from lyapopt.study.run.folder import same_folder
from lyapopt.study.run.promotion import PROMOTED, promoted_file
from lyapopt.study.run.schedule import Schedule
from lyapopt.study.run.storage import open_storage

__all__ = ["Difference", "Replay", "replay", "studied_file"]

_COUNTED = ("complete", "pruned", "failed")
_KEPT = 6  # significant digits of what attributes keep


@dataclass(frozen=True)
class Difference:
    """One thing that was compared: as it is stored, and as it came out."""

    what: str
    stored: object
    again: object

    @property
    def is_none(self) -> bool:
        """Whether both are the same, bit for bit."""
        if isinstance(self.stored, float) and isinstance(self.again, float):
            return self.stored == self.again or (math.isnan(self.stored) and math.isnan(self.again))
        return self.stored == self.again

    @property
    def distance(self) -> float | None:
        """How far apart two numbers are, relative to the stored one; `None` of other things."""
        if not (isinstance(self.stored, float) and isinstance(self.again, float)):
            return None
        gap = abs(self.again - self.stored)
        return gap / abs(self.stored) if self.stored and math.isfinite(gap) else gap


@dataclass(frozen=True)
class Replay:
    """What training a trial again came to.

    Attributes:
        trial: The trial, as it is stored.
        group: Numbers of the trials that were trained together.
        compared: What was compared: state, values, reported values, exponent.
        model: The trained model, a copy of the user's.
    """

    trial: FrozenTrial
    group: Sequence[int]
    compared: Sequence[Difference] = field(repr=False)
    model: nn.Module | None = field(default=None, repr=False)

    @property
    def differences(self) -> list[Difference]:
        """What did not come out the same."""
        return [each for each in self.compared if not each.is_none]


def studied_file(storage: str, study_name: str, store: str | None = None) -> StudyFile:
    """The file that a study was last run with, as the study has kept it.

    Raises:
        UserError: If it was not run by a version that keeps it, or by other means.
    """
    study = _load(storage, study_name.removesuffix(PROMOTED_SUFFIX), study_name)
    kept = get_study_attribute(study, DEFINITION)
    if not isinstance(kept, str):
        raise UserError(
            f"study {study_name!r} does not say which file it was run with: give the study file "
            "instead of the storage, lyapopt replay study.yaml --trial N"
        )
    return study_of_definition(kept, storage, store)


def has_changed(file: StudyFile) -> bool:
    """Whether the file is another than its study was last run with."""
    file, _ = with_choices(file)
    return known_digest(_load(file.storage, file.study_name)) not in (None, file.digest())


def replay(file: StudyFile, study_name: str, number: int) -> Replay:
    """Train a trial again, and compare.

    Args:
        file: The file of the study, or of the search that has promoted its trials.
        study_name: Name of the study.
        number: Optuna's number of the trial.

    Raises:
        UserError: If there is no such trial, or it has not ended; or what the file says cannot be
            had.
    """
    file, _ = with_choices(file)
    study = _load(file.storage, study_name)
    trials = study.get_trials(deepcopy=False)
    trial = _trial(trials, number, study_name)
    networks = None
    if study_name == file.study_name + PROMOTED_SUFFIX:
        file, networks = promoted_file(file), list(get_study_attribute(study, PROMOTED) or ())
    elif study_name != file.study_name:
        raise UserError(f"the file is of study {file.study_name!r}, not of {study_name!r}")
    counted = {logical_number(t): t for t in trials if state_of(t) in _COUNTED}
    counted[logical_number(trial)] = trial
    first, stop = Schedule.of(file).group_of(logical_number(trial))
    history = [t for n, t in sorted(counted.items()) if n < first]
    group = [t for n, t in sorted(counted.items()) if first <= n < stop]
    with one_thread(), same_folder(), finishing():
        candidates = _train(file, history, group, networks, trial)
    [found] = [c for c in candidates if c.number == logical_number(trial)]
    return Replay(trial, [t.number for t in group], _compare(trial, found), found.model)


def _load(storage: str, *names: str) -> optuna.Study:
    """The first of these studies that there is, read without making anything."""
    opened = open_storage(storage, create=False)
    for name in names:
        try:
            return optuna.load_study(study_name=name, storage=opened)
        except KeyError:
            continue
    raise UserError(f"there is no study {names[0]!r} in this storage")


def _trial(trials: Sequence[FrozenTrial], number: int, study_name: str) -> FrozenTrial:
    found = next((trial for trial in trials if trial.number == number), None)
    if found is None:
        known = f"0 to {max(t.number for t in trials)}" if trials else "none"
        raise UserError(f"study {study_name!r} has no trial {number}; it has: {known}")
    if (state := state_of(found)) not in _COUNTED:
        raise UserError(f"trial {number} is {state}: it has not ended, so that nothing can differ")
    return found


def _train(
    file: StudyFile,
    history: Sequence[FrozenTrial],
    group: Sequence[FrozenTrial],
    networks: Sequence[int] | None,
    wanted: FrozenTrial,
) -> list[Candidate]:
    """Train a group in a study in memory that has the trials before it."""
    objective = assembly.objective(file, assembly.search_space(file), networks)
    study = ordered(
        optuna.create_study(
            study_name=file.study_name,
            sampler=optuna.samplers.RandomSampler(seed=file.seed),
            pruner=assembly.pruner(file),
            directions=list(file.all_directions),
        )
    )
    for position, trial in enumerate(history):
        study.add_trial(_numbered(trial, position))
    numbers = [logical_number(trial) for trial in group]
    candidates = []
    with inside_optimize(study), study.running(numbers, numbers):
        for trial, number in zip(group, numbers, strict=True):
            trial_id = create_trial(study, number, "replay", params=trial.params)
            candidate = objective.prepare(begin_trial(study, trial_id))
            candidate.keeps_model = trial is wanted
            candidates.append(candidate)
        objective.train(candidates)
    return candidates


def _numbered(trial: FrozenTrial, position: int) -> FrozenTrial:
    """A trial of the history, which keeps its logical number wherever it comes to stand."""
    number = logical_number(trial)
    own = {NUMBER_ATTRIBUTE: number} if number != position else {}
    others = {k: v for k, v in trial.user_attrs.items() if k != NUMBER_ATTRIBUTE}
    return optuna.trial.create_trial(
        state=trial.state,
        values=trial.values,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={**others, **own},
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )


def _compare(trial: FrozenTrial, found: Candidate) -> list[Difference]:
    outcome = found.outcome
    assert outcome is not None
    again = frozen(found.trial)
    compared = [Difference("state", state_of(trial), outcome.state)]
    if state_of(trial) == outcome.state == "complete":
        values = outcome.value if isinstance(outcome.value, tuple) else (outcome.value,)
        names = ["value"] if len(values) == 1 else [f"value {k}" for k in range(len(values))]
        stored = cast(Sequence[float], trial.values)
        compared += [
            Difference(name, float(a), float(cast(float, b)))
            for name, a, b in zip(names, stored, values, strict=True)
        ]
    steps = sorted({*trial.intermediate_values, *again.intermediate_values})
    compared += [
        Difference(
            f"reported at step {step}",
            trial.intermediate_values.get(step),
            again.intermediate_values.get(step),
        )
        for step in steps
    ]
    return compared + _attributes(trial.user_attrs, again.user_attrs)


def _attributes(stored: Mapping[str, Any], again: Mapping[str, Any]) -> list[Difference]:
    """Exponent and interval, of which six digits are kept."""
    names = (attributes.EXPONENT, attributes.LOW, attributes.HIGH)
    return [Difference(n, stored.get(n), again.get(n)) for n in names if {n} & {*stored, *again}]
