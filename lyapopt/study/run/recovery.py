"""What becomes of trials that a dead worker left running: finished, or marked to be run again.

A worker writes our rows first, and `tell` commits the trial. If it died before the rows, nothing
of the trial is kept, and it is run again with the parameters it had. If it died between rows and
`tell`, the trial has ended, and only the telling is missing: that is done here, so that no
finished trial is lost. Either way the trial is stored whole or not at all.

A trial may be what its worker died of: native code that crashes, or too much memory. Each death
is noted on the trials that were running. After `DEATHS_OF_A_GROUP` the trials of a group are run
one at a time, since any of them may be the cause; after `on_failure.max_deaths` a trial counts as
failed, with its reason stored, and the study goes on without it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import optuna
from optuna.trial import FrozenTrial, TrialState

from lyapopt.display import one_line
from lyapopt.search import attributes
from lyapopt.search._optuna import end_interrupted, every_trial, logical_number, set_attribute
from lyapopt.store import (
    RUN_ATTRIBUTE,
    RecordNotFoundError,
    RunRecord,
    TrajectoryStore,
    new_run_id,
)
from lyapopt.store.errors import DamagedDataError
from lyapopt.store.states import run_in
from lyapopt.study.run.ledger import deaths_of
from lyapopt.study.run.worker_table import Group

_log = logging.getLogger(__name__)

DEATHS_OF_A_GROUP: Final = 2
"""Deaths after which trials that trained together are run again one at a time."""

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
    trials: Iterable[FrozenTrial],
    store: TrajectoryStore | None,
    whole_groups: Iterable[Group] = (),
    max_deaths: int | None = None,
) -> Settled:
    """End trials that are running and whose worker is dead.

    Args:
        study: The trials' study. The caller holds its mutex.
        trials: The running trials.
        store: Where their rows may be.
        whole_groups: Groups that are to be run again whole if the rows of any trial are missing.
            (Rows of a group are all written before the first of its trials is told.)
        max_deaths: How often the process of a trial may die before it counts as failed; None for
            any number of times.
    """
    kept = repeated = 0
    results = [(trial, _stored_result(trial, store)) for trial in trials]
    missing = {logical_number(trial) for trial, record in results if record is None}
    in_whole_groups = {
        number for group in whole_groups if missing & set(range(*group)) for number in range(*group)
    }
    for trial, record in results:
        if record is None:
            repeated += not _died(study, trial, store, max_deaths)
        elif logical_number(trial) in in_whole_groups:
            _interrupt(study, trial)
            repeated += 1
        else:
            _tell_stored(study, trial, record)
            kept += 1
    return Settled(kept, repeated)


def _died(
    study: optuna.Study,
    trial: FrozenTrial,
    store: TrajectoryStore | None,
    max_deaths: int | None,
) -> bool:
    """End a trial whose process died while it ran; whether it counts as failed by now."""
    number = logical_number(trial)
    others = [other for other in every_trial(study) if other.number != trial.number]
    deaths = 1 + deaths_of(other for other in others if logical_number(other) == number)
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


def _stored_result(trial: FrozenTrial, store: TrajectoryStore | None) -> RunRecord | None:
    """How a running trial ended according to its rows; `None` if they were not written."""
    run = run_in(trial.user_attrs)
    if store is None or run is None:
        return None
    try:
        record = store.read(run)
    except RecordNotFoundError:
        return None
    except DamagedDataError as error:
        _log.warning("trial %d is run again: %s", trial.number, one_line(error))
        return None
    return record if record.state in ("complete", "pruned", "failed") else None


def _tell_stored(study: optuna.Study, trial: FrozenTrial, record: RunRecord) -> None:
    """Tell Optuna that a running trial has ended, as its rows say."""
    for name, value in result_attributes(record).items():
        if trial.user_attrs.get(name) != value:
            set_attribute(study, trial, name, value)
    values = list(record.values) if record.state == "complete" and record.values else None
    study.tell(trial.number, values, state=STATES[record.state], skip_if_finished=True)


def result_attributes(record: RunRecord) -> dict[str, float | str]:
    """The user attributes that a trial gets when it ends."""
    found: dict[str, float | str] = {
        attributes.COST: attributes.rounded(record.gradient_evaluations)
    }
    verdict = attributes.FAILED if record.state == "failed" else record.verdict
    if verdict is not None:
        found[attributes.VERDICT] = verdict
    return found
