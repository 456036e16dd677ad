"""What becomes of trials that a dead worker left running: finished, or marked to be run again.

A worker writes our rows first, those of all trials of a group in one transaction, and `tell`
commits the trials. If it died before the rows, nothing of the group is kept, and it is run again
(`attempts`). If it died between rows and `tell`, the trials have ended, and only the telling is
missing: that is done here, so that no finished trial is lost. Either way a group is stored whole or
not at all.

Each death is noted on the trials that were running. One that ran alone counts as failed after
`on_failure.max_deaths`, with its reason stored, and the study goes on without it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import optuna
from optuna.trial import FrozenTrial, TrialState

from lyapopt.display import one_line
from lyapopt.search import attributes
from lyapopt.search._optuna import end_interrupted, logical_number, set_attribute
from lyapopt.store import (
    RUN_ATTRIBUTE,
    RecordNotFoundError,
    RunRecord,
    TrajectoryStore,
    new_run_id,
)
from lyapopt.store.errors import DamagedDataError
from lyapopt.store.states import run_in
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.worker_table import Group

_log = logging.getLogger(__name__)

STATES: Final = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "interrupted": TrialState.FAIL,
}
"""Optuna's state of a trial that ended in one of ours."""


@dataclass(frozen=True)
class Settled:
    """What became of running trials whose workers had died.

    Attributes:
        kept: How many had ended, and are told to Optuna now.
        repeated: How many are to be run again.
    """

    kept: int = 0
    repeated: int = 0


def settle(
    study: optuna.Study,
    trials: Sequence[FrozenTrial],
    store: TrajectoryStore | None,
    groups: Iterable[Group] = (),
    max_deaths: int | None = None,
) -> Settled:
    """End trials that are running and whose worker is dead.

    Args:
        study: The trials' study. The caller holds its mutex.
        trials: The running trials.
        store: Where their rows may be.
        groups: The groups that they are of, each of which is ended as a whole.
        max_deaths: How often the process of a trial may die before it counts as failed; None for
            any number of times.
    """
    if not trials:
        return Settled()
    kept = repeated = 0
    ledger = Ledger.of(study, 0)
    results = {trial.number: _stored(trial, store) for trial in trials}
    missing = {logical_number(trial) for trial in trials if not _has_ended(results[trial.number])}
    missing -= ledger.done  # those were run once more for the sake of their group
    for trial in trials:
        number, record = logical_number(trial), results[trial.number]
        group = next((group for group in groups if number in range(*group)), (number, number + 1))
        left = [other for other in range(*group) if other not in ledger.done]
        if number in ledger.done or (record is not None and missing & set(left)):
            _interrupt(study, trial)
            repeated += number not in ledger.done
        elif record is not None:
            _tell_stored(study, trial, record)
            kept += 1
        else:
            is_alone = len(left) < 2 or attributes.SURVIVED in trial.user_attrs
            deaths, limit = ledger.deaths(number) + 1, max_deaths if is_alone else None
            repeated += not _died(study, trial, store, deaths, limit)
    return Settled(kept, repeated)


def _died(
    study: optuna.Study,
    trial: FrozenTrial,
    store: TrajectoryStore | None,
    deaths: int,
    max_deaths: int | None,
) -> bool:
    """End a trial whose process died while it ran; whether it counts as failed by now."""
    number = logical_number(trial)
    set_attribute(study, trial, attributes.DEATHS, deaths)
    if max_deaths is None or deaths < max_deaths:
        _interrupt(study, trial)
        return False
    run = run_in(trial.user_attrs)
    if run is None:
        run = new_run_id()
        set_attribute(study, trial, RUN_ATTRIBUTE, run)
    reason = (
        f"its process died {deaths} times while it ran: killed, out of memory, or crashed in "
        "native code (on_failure.max_deaths)"
    )
    record = RunRecord(
        run, study.study_name, trial.number, "failed", logical_number=number, reason=reason
    )
    if store is not None:  # rows first: what is told must have them
        store.record(record)
    _tell_stored(study, trial, record)
    _log.warning("trial %d counts as failed: %s", trial.number, reason)
    return True


def _interrupt(study: optuna.Study, trial: FrozenTrial) -> None:
    set_attribute(study, trial, attributes.VERDICT, attributes.INTERRUPTED)
    end_interrupted(study, trial)


def _stored(trial: FrozenTrial, store: TrajectoryStore | None) -> RunRecord | None:
    """What the rows of a running trial say; `None` if they were not written."""
    run = run_in(trial.user_attrs)
    if store is None or run is None:
        return None
    try:
        return store.read(run)
    except RecordNotFoundError:
        return None
    except DamagedDataError as error:
        _log.warning("trial %d is run again: %s", trial.number, one_line(error))
        return None


def _has_ended(record: RunRecord | None) -> bool:
    return record is not None and record.state in ("complete", "pruned", "failed")


def _tell_stored(study: optuna.Study, trial: FrozenTrial, record: RunRecord) -> None:
    """Tell Optuna that a running trial has ended, as its rows say."""
    for name, value in result_attributes(record).items():
        if trial.user_attrs.get(name) != value:
            set_attribute(study, trial, name, value)
    values = list(record.values) if record.state == "complete" and record.values else None
    study.tell(trial.number, values, state=STATES[record.state], skip_if_finished=True)


def result_attributes(record: RunRecord) -> dict[str, float | str]:
    """The user attributes that a trial gets when it ends."""
    found: dict[str, float | str] = {}
    if record.settings.get("probe") is not None:  # functions do not say what they cost
        found[attributes.COST] = attributes.rounded(record.gradient_evaluations)
    verdict = attributes.FAILED if record.state == "failed" else record.verdict
    if verdict is not None:
        found[attributes.VERDICT] = verdict
    return found
