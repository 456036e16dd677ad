"""Running, resuming and interrupting studies, on real databases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from lyapopt.errors import StudyStoppedError, UserError
from lyapopt.search._optuna import logical_number
from lyapopt.store import TrajectoryStore
from lyapopt.study.file import load_study_file
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.runner import RunResult, run_study

XOR = """
version: 1
study_name: small
storage: sqlite:///{path}/{name}.db
seed: 3
task: {{name: xor, hidden: 4, steps: 40}}
search_space:
  activation: [linear, sigmoid, relu]
  lr: {{type: float, low: 0.01, high: 3.0, log: true}}
  init_seed: {{type: seed}}
probe: {{horizon: 8, neighbours: 2}}
sampler: {{name: tpe, n_startup_trials: 4}}
pruner: {{name: lyapunov, slow: null, wrapped: {{name: median, n_startup_trials: 3}}}}
n_trials: 14
trials_at_once: 4
"""


def write(folder: Path, name: str = "a", text: str = XOR) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text.format(path=folder, name=name))
    return path


def run(path: Path, *overrides: str, **options: Any) -> RunResult:
    return run_study(load_study_file(path, overrides), **options)


def trials(path: Path) -> list[FrozenTrial]:
    file = load_study_file(path)
    return optuna.load_study(study_name=file.study_name, storage=file.storage).trials


def results(path: Path) -> dict[int, tuple[Any, ...]]:
    """What must be equal between two runs: by logical number, of the trials that count."""
    return {
        logical_number(t): (
            t.state.name,
            t.params,
            t.values,
            t.intermediate_values,
            {k: v for k, v in t.user_attrs.items() if not k.startswith("lyapopt:")},
        )
        for t in trials(path)
        if t.state in (TrialState.COMPLETE, TrialState.PRUNED)
    }


def store_of(path: Path) -> TrajectoryStore:
    return TrajectoryStore(load_study_file(path).storage, create=False)


class InterruptAt(StudyListener):
    """Raises KeyboardInterrupt as Ctrl-C does, when the given group begins to train."""

    def __init__(self, group: int) -> None:
        self._left = group

    def group_started(self, numbers: list[int]) -> None:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


def test_a_study_runs_to_its_number_of_trials_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    path = write(tmp_path)
    first = run(path)
    assert first.new == 14
    assert len(trials(path)) == 14
    again = run(path)
    assert again.new == 0
    assert "all 14 trials are done" in again.reason
    assert len(trials(path)) == 14


def test_extra_trials_are_added_to_a_finished_study(tmp_path: Path) -> None:
    path = write(tmp_path)
    run(path)
    assert run(path, extra=3).new == 3
    assert len(trials(path)) == 17


def test_same_file_and_seed_give_identical_studies(tmp_path: Path) -> None:
    a, b = write(tmp_path, "a"), write(tmp_path, "b")
    run(a)
    run(b)
    assert results(a) == results(b)
    with store_of(a) as first, store_of(b) as second:
        for number in range(14):
            x = first.trajectories("small", number)
            y = second.trajectories("small", number)
            assert x.equals(y)


def test_another_seed_gives_another_study(tmp_path: Path) -> None:
    a, b = write(tmp_path, "a"), write(tmp_path, "b")
    run(a)
    run(b, "seed=4")
    assert results(a) != results(b)


@pytest.mark.parametrize("group", [1, 2, 3])
def test_an_interrupted_and_resumed_study_equals_an_uninterrupted_one(
    tmp_path: Path, group: int
) -> None:
    whole, broken = write(tmp_path, "whole"), write(tmp_path, "broken")
    run(whole)
    stopped = run(broken, listener=InterruptAt(group))
    assert stopped.interrupted
    assert stopped.new == 4 * (group - 1)
    assert not [t for t in trials(broken) if t.state == TrialState.RUNNING]
    resumed = run(broken)
    assert stopped.new + resumed.new == 14
    assert results(broken) == results(whole)


def test_two_interruptions_of_the_same_group_change_nothing(tmp_path: Path) -> None:
    whole, broken = write(tmp_path, "whole"), write(tmp_path, "broken")
    run(whole)
    run(broken, listener=InterruptAt(2))
    run(broken, listener=InterruptAt(1))
    run(broken)
    assert results(broken) == results(whole)


TELLING = """
from lyapopt.study.run.events import StudyListener
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study


class Teller(StudyListener):
    def group_started(self, numbers):
        print("group", flush=True)

    def finished(self, trial, reason):
        print("trial", flush=True)


run_study(load_study_file({path!r}), Teller())
"""


@pytest.mark.parametrize(
    ("events", "ended"),
    [("group", 0), ("group group", 4), ("group trial trial", 4)],
    ids=["in the first group", "in the second group", "while a group is shown"],
)
def test_a_killed_study_resumes_and_equals_an_uninterrupted_one(
    tmp_path: Path, events: str, ended: int
) -> None:
    whole, broken = write(tmp_path, "whole"), write(tmp_path, "broken")
    run(whole)
    program = TELLING.format(path=str(broken))
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert child.stdout is not None
    for event in events.split():
        while child.stdout.readline().strip() != event:
            assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    finished = [t for t in trials(broken) if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert ended <= len(finished) < 14, "the kill came when nothing or all was done"
    assert len(finished) % 4 == 0, "the trials of a group and their rows are written together"
    run(broken)
    assert results(broken) == results(whole)
    assert not [t for t in trials(broken) if t.state == TrialState.RUNNING]


def test_interrupted_trials_are_marked_and_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path)
    run(path, listener=InterruptAt(2))
    failed = [t for t in trials(path) if t.state == TrialState.FAIL]
    assert [t.user_attrs["verdict"] for t in failed] == ["interrupted"] * 4
    with store_of(path) as store:
        states = store.runs("small").set_index("trial_number")["state"]
    assert (states.loc[[t.number for t in failed]] == "interrupted").all()


def test_everything_a_trial_produced_is_in_the_database(tmp_path: Path) -> None:
    path = write(tmp_path)
    run(path)
    complete = [t for t in trials(path) if t.state == TrialState.COMPLETE]
    with store_of(path) as store:
        number = complete[0].number
        assert store.array("loss", "small", number).shape == (40,)
        assert store.array("separation", "small", number).shape == (9, 2)
        assert store.array("weights", "small", number).shape == (40, 17)
        exponents = store.exponents("small").set_index("trial_number")
        assert exponents.loc[number, "unit"] == "nats"
        stored = exponents.loc[number, "value"]
        assert float(stored) == pytest.approx(complete[0].user_attrs["exponent"], rel=1e-5)
        pruned = [t.number for t in trials(path) if t.state == TrialState.PRUNED]
        assert set(store.decisions("small")["trial_number"]) <= set(pruned)


def test_at_most_six_scalar_attributes_a_trial(tmp_path: Path) -> None:
    path = write(tmp_path)
    run(path)
    for trial in trials(path):
        assert len(trial.user_attrs) <= 6
        assert all(isinstance(value, int | float | str) for value in trial.user_attrs.values())


def test_optuna_reads_and_deletes_the_study(tmp_path: Path) -> None:
    path = write(tmp_path)
    run(path)
    file = load_study_file(path)
    study = optuna.load_study(study_name="small", storage=file.storage)
    assert study.best_trial.value is not None
    command = Path(sys.executable).with_name("optuna")
    listed = optuna_s_own(command, file.storage, "studies", "-f", "json")
    assert [(one["name"], one["n_trials"]) for one in json.loads(listed)] == [("small", 14)]
    shown = optuna_s_own(command, file.storage, "trials", "--study-name", "small", "-f", "json")
    assert [trial["number"] for trial in json.loads(shown)] == list(range(14))
    optuna_s_own(command, file.storage, "delete-study", "--study-name", "small")
    assert optuna.get_all_study_names(file.storage) == []
    with store_of(path) as store:
        assert store.gc(grace=0.0) == 14
    assert run(path).new == 14


def optuna_s_own(command: Path, storage: str, *arguments: str) -> str:
    ended = subprocess.run(
        [command, arguments[0], "--storage", storage, *arguments[1:]],
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout


def test_a_build_function_that_raises_fails_its_trial_and_the_study_goes_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "own_task.py").write_text(
        textwrap.dedent(
            """
            from lyapopt.tasks.builder import TaskBuilder

            def build(params):
                if params["lr"] > 0.5:
                    raise ValueError("lr is too large for me")
                return TaskBuilder("xor", {"hidden": 4, "steps": 40})(params)
            """
        )
    )
    text = XOR.replace("{{name: xor, hidden: 4, steps: 40}}", "{{build: 'own_task:build'}}")
    path = write(tmp_path, text=text)
    result = run(path)
    failed = [t for t in trials(path) if t.state == TrialState.FAIL]
    assert failed
    with store_of(path) as store:
        runs = store.runs("small").set_index("trial_number")
    reasons = {t.number: runs["reason"].get(t.number) for t in failed}
    assert all(t.params["lr"] > 0.5 for t in failed), reasons
    assert len(result.ledger.done) == 14
    assert "lr is too large for me" in runs.loc[failed[0].number, "reason"]
    assert "own_task.py" in runs.loc[failed[0].number, "reason"]


def test_a_study_whose_first_trials_all_fail_stops(tmp_path: Path) -> None:
    (tmp_path / "broken_task.py").write_text("def build(params):\n    raise OSError('no data')\n")
    text = XOR.replace("{{name: xor, hidden: 4, steps: 40}}", "{{build: 'broken_task:build'}}")
    path = write(tmp_path, text=text)
    result = run(path)
    assert "failed" in result.reason
    assert len(trials(path)) < 14


def test_a_custom_float32_model_is_measured_in_float64(tmp_path: Path) -> None:
    (tmp_path / "float_task.py").write_text(
        textwrap.dedent(
            """
            import torch
            from lyapopt.dynamics import Training

            X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))

            def build(params, width):
                model = torch.nn.Sequential(
                    torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 1)
                )
                optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
                data = (X, X.sum(1, keepdim=True))
                return Training(model, torch.nn.MSELoss(), optimizer, data, steps=40)
            """
        )
    )
    custom = "{{build: 'float_task:build', kwargs: {{width: 5}}}}"
    text = XOR.replace("{{name: xor, hidden: 4, steps: 40}}", custom)
    path = write(tmp_path, text=text)
    run(path)
    assert any(t.state == TrialState.COMPLETE for t in trials(path))
    twin = write(tmp_path, "twin", text=text)
    run(twin)
    assert results(path) == results(twin)  # its weights are drawn from the trial's seed


def test_the_budget_in_gradient_evaluations_holds(tmp_path: Path) -> None:
    path = write(tmp_path)
    result = run(path, "n_trials=null", "budget.gradient_evaluations=500", "trials_at_once=1")
    assert "budget" in result.reason
    assert 500 <= result.ledger.gradient_evaluations < 700


def test_a_budget_is_not_overrun_by_the_first_group(tmp_path: Path) -> None:
    path = write(tmp_path)
    limits = ("n_trials=null", "budget.gradient_evaluations=200", "trials_at_once=8")
    result = run(path, *limits, "pruner=nop")
    assert "budget" in result.reason
    assert 200 <= result.ledger.gradient_evaluations < 200 + 64  # one trial too many, at most


def test_a_grid_is_gone_through_once(tmp_path: Path) -> None:
    path = write(tmp_path)
    text = path.read_text()
    text = text.replace("sampler: {name: tpe, n_startup_trials: 4}", "sampler: grid")
    text = text.replace("lr: {type: float, low: 0.01, high: 3.0, log: true}", "lr: [0.1, 0.5]")
    text = text.replace("  init_seed: {type: seed}\n", "")
    path.write_text(text)
    result = run(path, "n_trials=100")
    assert len(result.ledger.done) == 6
    assert "grid" in result.reason or "sampler" in result.reason


def test_a_brute_force_search_that_has_tried_everything_has_nothing_to_do(tmp_path: Path) -> None:
    path = write(tmp_path)
    text = path.read_text()
    text = text.replace("sampler: {name: tpe, n_startup_trials: 4}", "sampler: brute-force")
    text = text.replace("lr: {type: float, low: 0.01, high: 3.0, log: true}", "lr: [0.1, 0.5]")
    text = text.replace("  init_seed: {type: seed}\n", "")
    path.write_text(text)
    first = run(path, "n_trials=100", "trials_at_once=1")
    assert first.new == 6
    assert run(path, "n_trials=100", "trials_at_once=1").new == 0


def test_other_choices_for_a_study_that_has_trials_are_refused_before_a_trial_begins(
    tmp_path: Path,
) -> None:
    path = write(tmp_path)
    run(path)
    path.write_text(path.read_text().replace("[linear, sigmoid, relu]", "[linear, tanh]"))
    with pytest.raises(UserError, match=r"search_space.activation.*another study_name"):
        run(path, extra=2)
    assert len(trials(path)) == 14


def test_a_wider_range_is_no_reason_to_refuse_a_study(tmp_path: Path) -> None:
    path = write(tmp_path)
    run(path)
    path.write_text(path.read_text().replace("high: 3.0", "high: 5.0"))
    assert run(path, extra=2).new == 2


@pytest.mark.parametrize("count", [1, 3, 6])
def test_extra_after_an_interruption_adds_just_so_many(tmp_path: Path, count: int) -> None:
    path = write(tmp_path)
    run(path, listener=InterruptAt(3))
    assert run(path, extra=count).new == count
    ended = [t for t in trials(path) if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert sorted(map(logical_number, ended)) == list(range(8 + count))
    assert run(path).new == 6 - count


def test_a_study_that_is_deleted_while_it_runs_ends_with_a_clear_error(tmp_path: Path) -> None:
    path = write(tmp_path)
    storage = load_study_file(path).storage

    class Deleter(StudyListener):
        def group_started(self, numbers: list[int]) -> None:
            optuna.delete_study(study_name="small", storage=storage)

    with pytest.raises(StudyStoppedError, match="was deleted while it ran"):
        run(path, listener=Deleter())


def test_enqueued_trials_come_first(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text() + "enqueue: [{activation: relu, lr: 0.123}]\n")
    run(path)
    first = trials(path)[0]
    assert first.params["lr"] == 0.123
    assert first.params["activation"] == "relu"
    assert len(trials(path)) == 14


def test_what_needs_a_study_that_nobody_runs_is_refused_while_somebody_does(
    tmp_path: Path,
) -> None:
    from lyapopt.study.admin.deletion import sole_runner

    path = write(tmp_path)
    file = load_study_file(path)

    class Intruder(StudyListener):
        refused = 0

        def group_started(self, numbers: list[int]) -> None:
            with pytest.raises(UserError, match="another process"), sole_runner(*where):
                pass
            self.refused += 1

    where, intruder = (file.storage, file.study_name), Intruder()
    run(path, listener=intruder)
    assert intruder.refused == 4
    with sole_runner(*where):
        pass


def test_a_study_with_another_direction_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    run(path)
    with pytest.raises(UserError, match="directions"):
        run(path, "direction=maximize")


def test_an_unwritable_storage_is_a_clear_error(tmp_path: Path) -> None:
    path = write(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="storage"):
        run(path, f"storage=sqlite:///{blocked}/deep/study.db")


def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "text.db").write_text("this is no database, but a text of some length" * 50)
    with pytest.raises(UserError, match="not an SQLite database"):
        run(path, f"storage=sqlite:///{tmp_path}/text.db")
