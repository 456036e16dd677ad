"""A study that was killed or interrupted anywhere and resumed equals an uninterrupted one, bit for
bit: parameters, values, intermediate values, states, exponents, trajectories."""

from __future__ import annotations

import os
import random
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine, event

from lyapopt.search._optuna import logical_number
from lyapopt.store import RUN_ATTRIBUTE, TrajectoryStore
from lyapopt.store.errors import UnfinishedTablesError
from lyapopt.study.file import StudyFile, load_study_file
from lyapopt.study.run.group import GroupRunner
from lyapopt.study.run.leases import Leases
from lyapopt.study.run.promotion import promoted_file
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.storage import check_tables

HEAD = """
version: 1
study_name: s
storage: sqlite:///{folder}/{name}.db
seed: 5
record: {{weights: projection, projection_dim: 8}}
probe: {{horizon: 4, neighbours: 1}}
"""
XOR = """
task: {name: xor, hidden: 5, steps: 24}
trials_at_once: 4
n_trials: 11
"""
SPACE = """
search_space:
  activation: [tanh, relu, gelu]
  lr: {type: float, low: 0.01, high: 5.0, log: true}
  momentum: {type: float, low: 0.0, high: 0.9}
  init_seed: {type: seed}
"""
MEDIAN = (
    "pruner: {name: lyapunov, hot: 2.0, slow: null, wrapped: {name: median, n_startup_trials: 3}}\n"
)
TPE = "sampler: {name: tpe, n_startup_trials: 3}\n"
EDGE = "sampler: {name: edge-of-chaos, steer: lr, base: {name: tpe, n_startup_trials: 3}}\n"
HYPERBAND = "pruner: {name: hyperband, min_resource: 4, reduction_factor: 2}\n"

STUDIES = {
    "tpe": XOR + SPACE + TPE + MEDIAN,
    "edge-of-chaos": XOR + SPACE + EDGE + MEDIAN,
    "cached edges": XOR + SPACE + EDGE.replace("steer: lr,", "steer: lr, reuse: 0.2,"),
    "screening": XOR + SPACE + "sampler: {name: screening, candidates: 6}\n" + MEDIAN,
    "ranked": XOR + SPACE + EDGE + "rank_at: 8\npromote: 3\n",
    "grid": XOR
    + "search_space: {lr: [0.1, 0.3, 1.0], momentum: [0.0, 0.9], activation: [tanh, relu]}\n"
    + "sampler: grid\n",
    "brute force": XOR
    + "search_space: {lr: [0.1, 0.3, 1.0], momentum: [0.0, 0.9], activation: [tanh, relu]}\n"
    + "sampler: brute-force\n",
    "random": XOR + SPACE + "sampler: random\n" + HYPERBAND,
    "cma-es": XOR + SPACE + "sampler: {name: cma-es, n_startup_trials: 3}\n" + MEDIAN,
    "qmc": XOR + SPACE + "sampler: qmc\n",
    "nsgaii": XOR + SPACE + "sampler: {name: nsgaii, population_size: 4}\n",
    "gp": XOR + SPACE + "sampler: {name: gp, n_startup_trials: 3}\n" + MEDIAN,
    "enqueued": XOR + SPACE + TPE + "enqueue: [{lr: 0.2}, {momentum: 0.5}]\n",
    "default groups": XOR.replace("trials_at_once: 4\n", "") + SPACE + TPE + MEDIAN,
    "function": "objective: {call: 'resumed_task:objective'}\nn_trials: 11\n"
    + SPACE
    + TPE
    + "pruner: {name: median, n_startup_trials: 3}\n",
    "retries": "task: {build: 'resumed_task:build'}\ntrials_at_once: 4\nn_trials: 11\n"
    + SPACE
    + TPE
    + "on_failure: {max_retries: 1}\n",
}

TASK = """
from lyapopt.tasks.builder import TaskBuilder

def build(params):
    if params["lr"] > 0.3:
        raise ValueError("lr is too large for me")
    return TaskBuilder("xor", {"hidden": 4, "steps": 24})(params)

def objective(trial):
    kind = trial.suggest_categorical("activation", ["tanh", "relu", "gelu"])
    x = trial.suggest_float("lr", 0.01, 5.0, log=True)
    y = trial.suggest_float("momentum", 0.0, 0.9) if kind != "relu" else 0.0
    for step in range(3):
        trial.report(abs(x - y) / (step + 1), step)
        if trial.should_prune():
            raise __import__("optuna").TrialPruned
    return abs(x - y)
"""


@pytest.fixture
def folder(memory: Path) -> Iterator[Path]:
    (memory / "resumed_task.py").write_text(textwrap.dedent(TASK))
    yield memory
    sys.modules.pop("resumed_task", None)


def write(folder: Path, name: str, study: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(HEAD.format(folder=folder, name=name) + STUDIES[study])
    return path


# What came of a study


def results(path: Path) -> dict[tuple[str, int], Any]:
    """All that counts of all trials that count, by study and logical number."""
    file = load_study_file(path)
    found = _results(file)
    if file.promote:
        found |= _results(promoted_file(file))
    return found


def _results(file: StudyFile) -> dict[tuple[str, int], Any]:
    study = optuna.load_study(study_name=file.study_name, storage=file.storage)
    found: dict[tuple[str, int], Any] = {}
    with TrajectoryStore(file.storage, create=False) as store:
        for trial in study.trials:
            if trial.state == TrialState.FAIL and trial.user_attrs.get("verdict") == "interrupted":
                continue
            assert trial.state.is_finished()
            run = store.read(trial.user_attrs[RUN_ATTRIBUTE])
            attrs = {k: v for k, v in trial.user_attrs.items() if not _is_of_this_try(k)}
            result = (
                trial.state.name,
                trial.params,
                trial.values,
                trial.intermediate_values,
                attrs,
                (run.state, run.values, run.verdict, run.reason, run.steps),
                run.gradient_evaluations,
                [(e.name, e.value, e.low, e.high, e.flags) for e in run.exponents],
                [(t.name, np.asarray(t.values).tobytes()) for t in run.trajectories],
                run.decisions,
            )
            found.setdefault((file.study_name, logical_number(trial)), []).append(repr(result))
    return found


def _is_of_this_try(name: str) -> bool:
    return name in (RUN_ATTRIBUTE, "lyapopt:number", "lyapopt:deaths")


# Deaths


def dies(path: Path, arrange: Callable[[], None], *overrides: str) -> bool:
    """Run a study in a process that kills itself where it was arranged; whether it did."""
    child = os.fork()
    if child == 0:
        try:
            arrange()
            run_study(load_study_file(path, overrides))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def after(owner: Any, name: str, count: int) -> Callable[[], None]:
    """Death when a method has returned for the n-th time."""

    def arrange() -> None:
        calls, method = iter(range(count - 1, -1, -1)), getattr(owner, name)

        def deadly(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if next(calls) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, deadly)

    return arrange


def after_statement(count: int) -> Callable[[], None]:
    """Death after the n-th SQL statement."""

    def arrange() -> None:
        statements = iter(range(count - 1, -1, -1))

        @event.listens_for(Engine, "after_cursor_execute")
        def _(*_: object) -> None:
            if next(statements, 1) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return arrange


SUGGEST = optuna.Trial, "_suggest"
REPORT = optuna.Trial, "report"
ROWS = GroupRunner, "_store_rows"
TELL = Leases, "tell"


def uninterrupted(folder: Path, study: str, *overrides: str) -> dict[tuple[str, int], Any]:
    path = write(folder, "whole", study)
    run_study(load_study_file(path, overrides))
    return results(path)


def check(folder: Path, study: str, deaths: Sequence[Callable[[], None]]) -> None:
    whole, path = uninterrupted(folder, study), write(folder, "broken", study)
    for death in deaths:
        assert dies(path, death)
    run_study(load_study_file(path))
    assert results(path) == whole


@pytest.mark.parametrize("study", ["tpe", "edge-of-chaos"])
def test_deaths_between_suggestions_in_training_and_between_tells_change_nothing(
    folder: Path, study: str
) -> None:
    # The first two in the first group, which is then run one by one, and as a whole again.
    deaths = [after(*SUGGEST, 6), after(*REPORT, 9), after(*ROWS, 6), after(*TELL, 3)]
    check(folder, study, deaths)


def test_a_death_while_the_tables_are_made_changes_nothing(folder: Path) -> None:
    whole, path = uninterrupted(folder, "tpe"), write(folder, "broken", "tpe")
    assert dies(path, after_statement(55))
    with pytest.raises(UnfinishedTablesError, match="not all there"):
        check_tables(load_study_file(path).storage)
    run_study(load_study_file(path))
    assert results(path) == whole


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_deaths_at_any_statement_change_nothing(folder: Path, study: str) -> None:
    choose = random.Random(study)
    deaths = [after_statement(choose.randrange(20, most)) for most in (150, 400, 700)]
    whole, path = uninterrupted(folder, study), write(folder, "broken", study)
    assert dies(path, deaths[0])
    for death in deaths[1:]:
        dies(path, death)
    run_study(load_study_file(path))
    assert results(path) == whole


@pytest.mark.parametrize(
    ("study", "totals"),
    [
        ("tpe", (4, 8)),
        pytest.param("default groups", (2, 10), marks=pytest.mark.slow),
        pytest.param("edge-of-chaos", (8,), marks=pytest.mark.slow),
        pytest.param("cma-es", (4, 8), marks=pytest.mark.slow),
        pytest.param("qmc", (4, 8), marks=pytest.mark.slow),
        pytest.param("nsgaii", (8,), marks=pytest.mark.slow),
    ],
)
def test_a_study_that_is_continued_equals_one_that_was_longer_from_the_beginning(
    folder: Path, study: str, totals: Sequence[int]
) -> None:
    whole, path = uninterrupted(folder, study), write(folder, "longer", study)
    for total in totals:
        run_study(load_study_file(path, [f"n_trials={total}"]))
        assert results(path).items() <= whole.items()
        assert len(results(path)) == total
    run_study(load_study_file(path))
    assert results(path) == whole


def test_a_total_that_cuts_a_group_changes_no_parameter(folder: Path) -> None:
    path = write(folder, "whole", "tpe")
    run_study(load_study_file(path))
    cut = write(folder, "cut", "tpe")
    run_study(load_study_file(cut, ["n_trials=6"]))
    run_study(load_study_file(cut, ["n_trials=8"]))
    assert params(cut) == params(path)[:8]


def params(path: Path) -> list[dict[str, Any]]:
    study = optuna.load_study(study_name="s", storage=load_study_file(path).storage)
    return [trial.params for trial in sorted(study.trials, key=logical_number)]
