"""Any calls leave in the database what they leave through `RDBStorage`, and answer the same."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lyapopt import BufferedStorage


class Pair(NamedTuple):
    """Two databases that get the same calls."""

    plain: RDBStorage
    backend: RDBStorage
    buffered: BufferedStorage


def _pair(plain_url: str, buffered_url: str) -> Pair:
    backend = RDBStorage(buffered_url)
    return Pair(RDBStorage(plain_url), backend, BufferedStorage(backend, interval=0.02))


@pytest.fixture
def sqlite_pair(memory: Path, empty_database: Path) -> Iterator[Pair]:
    files = [memory / "plain.db", memory / "buffered.db"]
    for file in files:
        shutil.copy(empty_database, file)
    yield from _opened(_pair(*(f"sqlite:///{file}" for file in files)))


def _opened(pair: Pair) -> Iterator[Pair]:
    yield pair
    for storage in (pair.plain, pair.backend):
        storage.remove_session()
        storage.engine.dispose()


NAMES = st.sampled_from(["a", "a", "A ", "é"])
# MariaDB finds "A " where "a" was asked for, in the table of parameters.
PARAMETERS = st.sampled_from(["a", "a", "b", "é"])
# No truth values: psycopg takes none for a number.
FLOATS = st.sampled_from([0.0, 1, -2.5, 1e300, 2**70, float("inf"), float("-inf")])
DISTRIBUTIONS = st.sampled_from(
    [
        FloatDistribution(0, 1),
        FloatDistribution(0, 4),
        FloatDistribution(0.5, 4, log=True),
        IntDistribution(0, 3),
        CategoricalDistribution(("x", "y", None)),
        CategoricalDistribution(("y", "x", None)),
    ]
)
ATTRIBUTES = st.sampled_from(
    [1, 0.1, "text", None, (1, 2), {"deep": [1, (2,)]}, {1: True}, {1, 2}, float("nan"), "\0é"]
)
STEPS = st.integers(-1, 3)
STATES = st.sampled_from(list(TrialState))
VALUES = st.none() | st.lists(FLOATS, max_size=2)


@st.composite
def templates(draw: st.DrawFn) -> FrozenTrial:
    distributions = draw(st.dictionaries(PARAMETERS, DISTRIBUTIONS, max_size=2))
    state = draw(STATES)
    return optuna.trial.create_trial(
        state=state,
        values=[1.5] if state == TrialState.COMPLETE else None,
        distributions=distributions,
        params={n: d.to_external_repr(1) for n, d in distributions.items()},
        user_attrs=draw(st.dictionaries(NAMES, ATTRIBUTES, max_size=2)),
        system_attrs=draw(st.dictionaries(NAMES, ATTRIBUTES, max_size=1)),
        intermediate_values=draw(st.dictionaries(STEPS, FLOATS, max_size=2)),
    )


TRIALS = st.sampled_from([0, 0, 0, 1, 2])  # places in the list of those that were created
CALLS = st.one_of(
    st.tuples(st.just("create_new_trial"), st.none() | templates()),
    st.tuples(
        st.just("set_trial_param"), TRIALS, PARAMETERS, st.sampled_from([0, 1.0]), DISTRIBUTIONS
    ),
    st.tuples(st.just("set_trial_user_attr"), TRIALS, NAMES, ATTRIBUTES),
    st.tuples(st.just("set_trial_system_attr"), TRIALS, NAMES, ATTRIBUTES),
    st.tuples(
        st.just("set_trial_intermediate_value"), TRIALS, STEPS, FLOATS | st.just(float("nan"))
    ),
    st.tuples(st.just("set_trial_state_values"), TRIALS, STATES, VALUES),
    st.tuples(st.just("get_trial_param"), TRIALS, PARAMETERS),
    st.tuples(st.just("get_best_trial")),
    st.tuples(st.just("flush")),
)
RUNNING = ("create_new_trial", None)
SEQUENCES = st.lists(
    st.tuples(st.booleans(), st.lists(CALLS, min_size=4, max_size=12)), min_size=2, max_size=3
).map(lambda some: [(False, [RUNNING, RUNNING]), *some])
UNIT = FloatDistribution(0, 1)
CHOICE = CategoricalDistribution(("x", "y", None))
TRAPS = [
    (False, [RUNNING, RUNNING, ("set_trial_param", 0, "a", 0, UNIT)]),
    (True, [("set_trial_param", 0, "a", 1.0, UNIT), ("get_trial_param", 0, "a")]),  # the first
    (False, [("set_trial_param", 1, "a", 1.0, CHOICE), ("flush",)]),  # another kind of values
    (False, [("set_trial_param", 0, "a", 1.0, UNIT), ("set_trial_user_attr", 0, "a", 1)]),
    (False, [("set_trial_user_attr", 0, "a", (1, (2,))), ("set_trial_user_attr", 0, "b", {1})]),
    (True, [("set_trial_intermediate_value", 0, 1, 1), ("flush",)]),
    (True, [("set_trial_intermediate_value", 0, 1, float("nan"))]),
    (False, [("set_trial_state_values", 0, TrialState.RUNNING, [1, 2])]),  # values stay, no change
    (True, [("set_trial_state_values", 0, TrialState.COMPLETE, [float("inf")])]),
    (True, [("set_trial_user_attr", 0, "a", 2), ("set_trial_user_attr", 1, "A ", 2)]),
    (True, [("set_trial_user_attr", 1, "a ", 3), ("set_trial_user_attr", 1, "A ", 4)]),
    (False, [("set_trial_state_values", 1, TrialState.WAITING, None), ("get_best_trial",)]),
]


def shown(trial: FrozenTrial) -> Any:
    """All of a trial but its id and times, so that NaN equals NaN and 1 is not `True`."""
    return repr(
        (
            trial.number,
            trial.state,
            trial.values and [float(v) for v in trial.values],
            list(trial.params.items()),
            list(trial.distributions.items()),
            sorted(trial.user_attrs.items(), key=lambda item: item[0]),
            sorted(trial.system_attrs.items(), key=lambda item: item[0]),
            sorted(trial.intermediate_values.items()),
            trial.datetime_start is None,
            trial.datetime_complete is None,
        )
    )


class Player:
    """Plays calls to one storage, with ids of its own."""

    def __init__(self, storage: BaseStorage) -> None:
        self.storage = storage
        self.study = storage.create_new_study([StudyDirection.MINIMIZE])
        self.trials: list[int] = []

    def play(self, name: str, *arguments: Any) -> Any:
        try:
            if name == "create_new_trial":
                self.trials.append(self.storage.create_new_trial(self.study, *arguments))
                return "created"
            if name == "flush":
                return self.storage.flush() if isinstance(self.storage, BufferedStorage) else None
            if name == "get_best_trial":
                return shown(self.storage.get_best_trial(self.study))
            trial, *rest = arguments
            if trial >= len(self.trials):
                return "no such trial yet"
            return getattr(self.storage, name)(self.trials[trial], *rest)
        except Exception as error:
            return type(error)

    def all_trials(self, storage: BaseStorage) -> list[Any]:
        return [shown(trial) for trial in storage.get_all_trials(self.study)]


def check(pair: Pair, sequences: list[tuple[bool, list[tuple[Any, ...]]]]) -> None:
    plain, buffered = Player(pair.plain), Player(pair.buffered)
    for together, calls in sequences:
        with pair.buffered.batch() if together else contextlib.nullcontext():
            for call in calls:
                assert plain.play(*call) == buffered.play(*call), call
            assert plain.all_trials(pair.plain) == buffered.all_trials(pair.buffered)
    pair.buffered.flush()
    assert plain.all_trials(pair.plain) == buffered.all_trials(pair.backend)
    assert plain.all_trials(pair.plain) == buffered.all_trials(BufferedStorage(pair.backend))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@example(sequences=TRAPS)
@given(sequences=SEQUENCES)
def test_calls_leave_and_answer_what_they_do_through_rdb_storage(
    sqlite_pair: Pair, sequences: Any
) -> None:
    check(sqlite_pair, sequences)


@pytest.fixture
def pair_anywhere(database_url: str, tmp_path: Path) -> Iterator[Pair]:
    """The buffered one on every database; where it is no file, both are in the same."""
    plain = f"sqlite:///{tmp_path}/plain.db" if "sqlite" in database_url else database_url
    yield from _opened(_pair(plain, database_url))


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@example(sequences=TRAPS)
@given(sequences=SEQUENCES)
def test_calls_leave_and_answer_the_same_on_every_database(
    pair_anywhere: Pair, sequences: Any
) -> None:
    check(pair_anywhere, sequences)
