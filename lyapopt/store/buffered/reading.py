"""Reading studies and trials from Optuna's tables, in a few statements however many they are."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Row, Table, and_, bindparam, or_, select

from lyapopt.store._optuna import (
    INTERMEDIATE_VALUES,
    PARAMS,
    STUDIES,
    SYSTEM_ATTRIBUTES,
    TRIALS,
    USER_ATTRIBUTES,
    VALUES,
    as_local,
    distribution_of,
    intermediate_value_of,
    new_trial,
    value_of,
)

_AT_ONCE: Final = 500  # ids in a statement; SQLite takes 999 parameters at least


class Header(NamedTuple):
    """What tells a trial from another one with its id."""

    number: int
    state: TrialState
    start: datetime | None


@dataclass(frozen=True)
class Changes:
    """What was read of a study.

    Attributes:
        name: Name of the study.
        seen: The trials that were looked at, by id.
        trials: Those among them that were read in full.
    """

    name: str
    seen: Mapping[int, Header]
    trials: Sequence[FrozenTrial]


_CHANGES: Final = (
    select(
        STUDIES.c.study_name,
        TRIALS.c.trial_id,
        TRIALS.c.number,
        TRIALS.c.state,
        TRIALS.c.datetime_start,
        TRIALS.c.datetime_complete,
    )
    .select_from(
        STUDIES.outerjoin(
            TRIALS,
            and_(
                TRIALS.c.study_id == STUDIES.c.study_id,
                or_(
                    TRIALS.c.trial_id >= bindparam("least"),
                    TRIALS.c.trial_id.in_(bindparam("ids", expanding=True)),
                ),
            ),
        )
    )
    .where(STUDIES.c.study_id == bindparam("study"))
    .order_by(TRIALS.c.trial_id)
)


def _of_trials(table: Table, *columns: str, order: str | None = None) -> Any:
    chosen = select(table.c.trial_id, *(table.c[name] for name in columns))
    chosen = chosen.where(table.c.trial_id.in_(bindparam("ids", expanding=True)))
    return chosen if order is None else chosen.order_by(table.c[order])


_PARAMS: Final = _of_trials(
    PARAMS, "param_name", "param_value", "distribution_json", order="param_id"
)
_VALUES: Final = _of_trials(VALUES, "value", "value_type", order="objective")
_USER_ATTRIBUTES: Final = _of_trials(USER_ATTRIBUTES, "key", "value_json")
_SYSTEM_ATTRIBUTES: Final = _of_trials(SYSTEM_ATTRIBUTES, "key", "value_json")
_INTERMEDIATE_VALUES: Final = _of_trials(
    INTERMEDIATE_VALUES, "step", "intermediate_value", "intermediate_value_type"
)
_STUDY_OF: Final = select(TRIALS.c.study_id).where(TRIALS.c.trial_id == bindparam("trial"))
_DISTRIBUTION: Final = (
    select(PARAMS.c.distribution_json)
    .join(TRIALS, TRIALS.c.trial_id == PARAMS.c.trial_id)
    .where(TRIALS.c.study_id == bindparam("study"), PARAMS.c.param_name == bindparam("name"))
    .limit(1)
)


def study_of(connection: Connection, trial_id: int) -> int:
    """The id of a trial's study.

    Raises:
        KeyError: If there is no such trial.
    """
    study_id = connection.scalar(_STUDY_OF, {"trial": trial_id})
    if study_id is None:
        raise KeyError("Record does not exist.")
    return int(study_id)


def some_distribution(connection: Connection, study_id: int, name: str) -> BaseDistribution | None:
    """A distribution that a parameter has in a study, if it has any."""
    text = connection.scalar(_DISTRIBUTION, {"study": study_id, "name": name})
    return None if text is None else distribution_of(text)


def read_changes(
    connection: Connection,
    study_id: int,
    last: int,
    unsettled: Collection[int],
    settled: Collection[int],
    waiting: Collection[int],
) -> Changes:
    """Read what may have changed of a study.

    States are read before what belongs to the trials: who finishes a trial has written all of it.

    Args:
        connection: Connection to read by.
        study_id: Id of the study.
        last: The largest id of a trial that is known; those after it are read.
        unsettled: Ids of trials that are read again.
        settled: Ids of trials that are not read in full.
        waiting: Ids of trials that are read in full only if they do not wait any more.

    Raises:
        KeyError: If there is no such study.
    """
    rows: dict[int, Any] = {}
    name = None
    for ids in pieces(sorted(unsettled)) if unsettled else [[]]:
        parameters = {"study": study_id, "least": max(last, 0), "ids": ids}
        for row in connection.execute(_CHANGES, parameters):
            name = row.study_name
            if row.trial_id is not None:
                rows[row.trial_id] = row
    if name is None:
        raise KeyError("Record does not exist.")
    wanted = [
        row
        for trial_id, row in sorted(rows.items())
        if trial_id not in settled and not (trial_id in waiting and row.state == TrialState.WAITING)
    ]
    return Changes(
        name,
        {
            trial_id: Header(row.number, row.state, as_local(row.datetime_start))
            for trial_id, row in rows.items()
        },
        [trial for some in pieces(wanted) for trial in _trials(connection, some)],
    )


def _trials(connection: Connection, rows: Sequence[Row[Any]]) -> Iterator[FrozenTrial]:
    parameters = {"ids": [row.trial_id for row in rows]}

    def read(statement: Any) -> dict[int, list[Any]]:
        found = defaultdict(list)
        for trial_id, *fields in connection.execute(statement, parameters):
            found[trial_id].append(fields)
        return found

    params, values = read(_PARAMS), read(_VALUES)
    user_attrs, system_attrs = read(_USER_ATTRIBUTES), read(_SYSTEM_ATTRIBUTES)
    reports = read(_INTERMEDIATE_VALUES)
    for row in rows:
        one = row.trial_id
        distributions = {name: distribution_of(text) for name, _, text in params[one]}
        yield new_trial(
            one,
            row.number,
            TrialState(row.state),
            datetime_start=as_local(row.datetime_start),
            datetime_complete=as_local(row.datetime_complete),
            values=[value_of(*pair) for pair in values[one]] or None,
            params={
                name: distributions[name].to_external_repr(value) for name, value, _ in params[one]
            },
            distributions=distributions,
            user_attrs={key: json.loads(text) for key, text in user_attrs[one]},
            system_attrs={key: json.loads(text) for key, text in system_attrs[one]},
            intermediate_values={
                step: intermediate_value_of(value, kind) for step, value, kind in reports[one]
            },
        )


def pieces(items: Sequence[Any]) -> Iterator[list[Any]]:
    """The items in lists that a statement takes."""
    iterator = iter(items)
    while piece := list(islice(iterator, _AT_ONCE)):
        yield piece
