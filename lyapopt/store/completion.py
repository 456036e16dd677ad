"""How runs ended that were stored while their trials ran.

A loop of the user's own is recorded before its function returns, and only Optuna learns what that
returned: whoever reads such a run takes its state and values from the trial. What a loop of this
process has counted since it was recorded last is written before anything is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, String, Subquery, case, cast, select

from lyapopt.store.lookup import NOT_FINITE, STUDIES, TRIALS, VALUES
from lyapopt.store.states import State, state_from
from lyapopt.store.tables import RUNS

_completing: Final[list[Callable[[], None]]] = []


def before_reading(complete: Callable[[], None]) -> None:
    """Let something be called before this process reads runs: it never raises."""
    _completing.append(complete)


def complete_runs() -> None:
    """Write what is known here of runs whose trials have ended."""
    for complete in _completing:
        complete()


_ENDED: Final = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def completed_state(trial_state: ColumnElement[Any]) -> ColumnElement[str]:
    """The state of a run, for plain SQL that also has the state of its trial."""
    told = cast(trial_state, String(16))
    is_running = RUNS.c.state == "running"
    cases = [(is_running & (told == theirs), ours) for theirs, ours in _ENDED.items()]
    return case(*cases, else_=RUNS.c.state)


class Ending(NamedTuple):
    """How a trial ended."""

    state: State
    values: tuple[float, ...] | None


def endings(connection: Connection, trials: Subquery) -> dict[str, Ending]:
    """How trials ended whose runs were stored as running, by run.

    Args:
        connection: Connection to the database.
        trials: As `find_trials` gives them.
    """
    state = cast(trials.c.trial_state, String(16)).label("trial_state")
    ended = (
        select(trials.c.run, trials.c.study_name, trials.c.trial_number, state)
        .join_from(trials, RUNS, RUNS.c.run == trials.c.run)
        .where(RUNS.c.state == "running", state.in_(_ENDED))
    )
    found = {
        row.run: Ending(state_from(row.trial_state, {}, {}), None)
        for row in connection.execute(ended)
    }
    if not any(ending.state == "complete" for ending in found.values()):
        return found
    of = ended.subquery("ended")
    is_study = STUDIES.c.study_name == of.c.study_name
    is_trial = (TRIALS.c.study_id == STUDIES.c.study_id) & (TRIALS.c.number == of.c.trial_number)
    values = (
        select(of.c.run, VALUES.c.value, VALUES.c.value_type)
        .join_from(of, STUDIES, is_study)
        .join(TRIALS, is_trial)
        .join(VALUES, VALUES.c.trial_id == TRIALS.c.trial_id)
        .where(of.c.trial_state == "COMPLETE")
        .order_by(VALUES.c.objective)
    )
    for run, value, kind in connection.execute(values):
        number = NOT_FINITE[str(kind)] if str(kind) in NOT_FINITE else float(value)
        found[run] = Ending("complete", (*(found[run].values or ()), number))
    return found
