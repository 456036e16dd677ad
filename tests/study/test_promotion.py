"""`promote: k`: the best trials of a study of exponents or of short trainings, in full."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from lyapopt.cli import exit_codes
from lyapopt.cli.commands.run import run as run_command
from lyapopt.errors import UserError
from lyapopt.search import Objective
from lyapopt.search._optuna import logical_number
from lyapopt.search.samplers.given import GivenSampler
from lyapopt.store import TrajectoryStore
from lyapopt.study.admin.deletion import delete_study
from lyapopt.study.file import load_study_file
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.promotion import promoted_file
from lyapopt.study.run.runner import RunResult, run_study

TEXT = """
version: 1
study_name: cheap
storage: sqlite:///{folder}/a.db
seed: 3
task: {{build: drawn:build}}
search_space:
  lr: {{type: float, low: 0.01, high: 0.5, log: true}}
probe: {{horizon: 5}}
value: exponent
promote: 3
n_trials: 8
trials_at_once: 4
"""
BUILD = """
import torch
from torch import nn
import lyapopt

X = torch.linspace(-1, 1, 8, dtype=torch.float64).unsqueeze(1)

def build(params):
    # Initial weights without a seed: they follow from the trial's number.
    model = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
    return lyapopt.Training(model, nn.MSELoss(), optimizer, (X, X.sin()), steps=30)
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delitem(sys.modules, "drawn", raising=False)  # of another test
    (tmp_path / "drawn.py").write_text(BUILD)
    file = tmp_path / "study.yaml"
    file.write_text(TEXT.format(folder=tmp_path))
    return file


def run(path: Path, *overrides: str, **options: Any) -> RunResult:
    return run_study(load_study_file(path, overrides), **options)


def trials(path: Path, name: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name=name, storage=load_study_file(path).storage).trials


def best(path: Path, count: int) -> list[int]:
    complete = [t for t in trials(path, "cheap") if t.state == TrialState.COMPLETE]
    ranked = sorted(complete, key=lambda trial: trial.values[0])
    return [logical_number(trial) for trial in ranked[:count]]


def results(path: Path) -> dict[int, Any]:
    """Of promoted trials that count, by logical number."""
    return {
        logical_number(trial): (trial.params, trial.values, trial.user_attrs["promoted_from"])
        for trial in trials(path, "cheap-promoted")
        if trial.state != TrialState.FAIL
    }


def test_the_best_are_trained_in_full_from_the_very_weights_they_were_measured_at(
    path: Path,
) -> None:
    result = run(path)
    assert result.promoted is not None
    assert result.promoted.ledger.states["complete"] == 3
    promoted = trials(path, "cheap-promoted")
    assert [trial.user_attrs["promoted_from"] for trial in promoted] == best(path, 3)
    store = TrajectoryStore(load_study_file(path).storage)
    for trial in promoted:
        number = trial.user_attrs["promoted_from"]
        assert trial.params == trials(path, "cheap")[number].params
        cheap = store.array("loss", "cheap", number)
        full = store.array("loss", "cheap-promoted", trial.number)
        assert (len(cheap), len(full)) == (5, 30)
        assert np.array_equal(cheap, full[:5])
        assert trial.value == pytest.approx(full[-1], rel=0.2)
    assert {trial.user_attrs["gradient_evaluations"] for trial in trials(path, "cheap")} == {10.0}


def test_running_again_does_nothing_and_a_longer_search_adds_to_what_was_promoted(
    path: Path,
) -> None:
    run(path)
    first = best(path, 3)
    again = run(path)
    assert again.promoted is not None
    assert (again.new, again.promoted.new) == (0, 0)
    run(path, extra=8)
    networks = [t.user_attrs["promoted_from"] for t in trials(path, "cheap-promoted")]
    assert networks == first + [number for number in best(path, 3) if number not in first]


RANKED = ("value=loss", "rank_at=12", "pruner=none")


def test_short_trainings_are_ranked_and_the_best_of_them_trained_in_full(path: Path) -> None:
    result = run(path, *RANKED)
    assert result.promoted is not None
    assert result.ledger.states["complete"] == 8
    promoted = trials(path, "cheap-promoted")
    assert [trial.user_attrs["promoted_from"] for trial in promoted] == best(path, 3)
    store = TrajectoryStore(load_study_file(path).storage)
    for trial in promoted:
        number = trial.user_attrs["promoted_from"]
        short = store.array("loss", "cheap", number)
        full = store.array("loss", "cheap-promoted", trial.number)
        assert (len(short), len(full)) == (12, 30)
        assert np.array_equal(short, full[:12])
        assert trials(path, "cheap")[number].value == pytest.approx(full[12], rel=1e-9)


def test_a_schedule_is_not_squeezed_into_a_short_training(path: Path) -> None:
    (path.parent / "drawn.py").write_text(
        BUILD.replace(
            "    return lyapopt.Training(",
            "    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)\n"
            "    return lyapopt.Training(",
        ).replace("steps=30", "scheduler=cosine, steps=30")
    )
    run(path, *RANKED)
    store = TrajectoryStore(load_study_file(path).storage)
    for trial in trials(path, "cheap-promoted"):
        short = store.array("loss", "cheap", trial.user_attrs["promoted_from"])
        full = store.array("loss", "cheap-promoted", trial.number)
        assert np.array_equal(short, full[: len(short)])


def test_ranking_after_more_steps_than_a_training_has_trains_it_in_full(path: Path) -> None:
    run(path, "value=loss", "rank_at=500", "pruner=none", "promote=0")
    store = TrajectoryStore(load_study_file(path).storage)
    assert {len(store.array("loss", "cheap", number)) for number in range(8)} == {30}


def test_the_promoted_keep_the_value_and_the_direction_of_a_ranking(path: Path) -> None:
    file = load_study_file(path, [*RANKED, "direction=maximize"])
    full = promoted_file(file)
    assert (full.value, full.all_directions) == ("loss", ("maximize",))
    assert (full.rank_at, full.promote) == (None, 0)
    of_exponents = promoted_file(load_study_file(path, ["direction=maximize"]))
    assert (of_exponents.value, of_exponents.all_directions) == ("loss", ("minimize",))


@pytest.mark.parametrize("stop_at", [0, -3, 1.5, "10"])
def test_a_training_is_stopped_after_a_whole_number_of_steps(stop_at: Any) -> None:
    with pytest.raises(UserError, match="stop_at must be a positive integer"):
        Objective(lambda params: params["x"], {"x": [1]}, stop_at=stop_at)


class Interrupting(StudyListener):
    """Interrupts when the first promoted trial has ended."""

    def __init__(self) -> None:
        self.ended = 0

    def finished(self, trial: FrozenTrial, reason: str | None) -> None:
        self.ended += 1
        if self.ended == 9:
            raise KeyboardInterrupt


def test_an_interruption_while_the_best_are_trained_changes_nothing(
    path: Path, tmp_path: Path
) -> None:
    one = ("trials_at_once=1",)
    result = run(path, *one, listener=Interrupting())
    assert result.interrupted
    assert len(results(path)) < 3
    assert not run(path, *one).interrupted
    resumed = results(path)
    delete_study(load_study_file(path))
    run(path, *one)
    assert resumed == results(path)


def test_an_interruption_of_the_search_promotes_nothing_yet(path: Path) -> None:
    class Early(StudyListener):
        def finished(self, trial: FrozenTrial, reason: str | None) -> None:
            raise KeyboardInterrupt

    assert run(path, listener=Early()).interrupted
    storage = load_study_file(path).storage
    assert optuna.get_all_study_names(storage) == ["cheap"]
    run(path)
    assert len(results(path)) == 3


class Listening(StudyListener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_the_budget_holds_for_both(path: Path) -> None:
    listener = Listening()
    assert run(path, "budget.gradient_evaluations=80", listener=listener).promoted is None
    assert "nothing is left of the budget to train the best trials in full" in listener.notes
    result = run(path, "budget.gradient_evaluations=110", "trials_at_once=1")
    assert result.promoted is not None
    assert result.promoted.ledger.states["complete"] == 1
    short = result.ledger.gradient_evaluations
    one = result.promoted.ledger.gradient_evaluations
    more = run(path, f"budget.gradient_evaluations={int(short + 2.5 * one)}")
    assert more.promoted is not None
    assert more.promoted.ledger.states["complete"] == 2  # half of a third one would be left
    assert more.promoted.reason == "what is left of the budget pays for no other training"


def test_extra_trials_end_with_the_budget_which_has_paid_for_the_promoted_ones(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["trials_at_once=1", "promote=1", "budget.gradient_evaluations=150"]
    assert run_command(path, given, dry_run=True) == exit_codes.DONE
    shown = capsys.readouterr().out
    short = run(path, *given)
    assert short.promoted is not None
    full = short.promoted.ledger.gradient_evaluations
    assert f"for each of the best 1 in full, {full:.0f}; {80 + full:.0f} altogether" in shown
    left = 150 - 80 - full
    more = run(path, *given, extra=30)
    assert more.ledger.gradient_evaluations == 80 + 10 * math.ceil(left / 10)
    assert more.reason == "the budget of 150 gradient evaluations is spent"
    assert run(path, *given, extra=30).new == 0
    assert run_command(path, given) == exit_codes.DONE
    said = capsys.readouterr()
    done = len(more.ledger.done)
    assert f"all {done} trials are done\nmore: with a larger budget" in said.out
    assert f"{done} of {done} trials done" in said.err


def test_fewer_than_were_asked_for_are_said_to_be(path: Path) -> None:
    listener = Listening()
    result = run(path, "n_trials=2", listener=listener)
    assert result.promoted is not None
    assert result.promoted.ledger.states["complete"] == 2
    assert "2 of 3 trials can be promoted: no more completed" in listener.notes


def test_a_search_that_maximises_promotes_the_largest(path: Path) -> None:
    run(path, "direction=maximize")
    found = [t.user_attrs["promoted_from"] for t in trials(path, "cheap-promoted")]
    ranked = sorted(trials(path, "cheap"), key=lambda trial: -trial.values[0])
    assert found == [trial.number for trial in ranked[:3]]


def test_the_command_line_shows_both_and_fresh_deletes_both(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(path) == exit_codes.DONE
    shown = capsys.readouterr().out
    assert "study cheap: all 8 trials are done" in shown
    assert "study cheap-promoted: all 3 trials are done" in shown
    delete_study(load_study_file(path))
    assert optuna.get_all_study_names(load_study_file(path).storage) == []


def test_promoted_trials_of_a_search_that_is_gone_are_not_taken_for_those_of_another(
    path: Path,
) -> None:
    run(path)
    storage = load_study_file(path).storage
    optuna.delete_study(study_name="cheap", storage=storage)
    with pytest.raises(UserError, match="cheap-promoted"):
        run(path, "seed=4", "n_trials=1")


@pytest.mark.slow
@pytest.mark.ci
def test_several_workers_search_and_one_promotes(path: Path) -> None:
    assert run_command(path, ["workers=2"], quiet=True) == exit_codes.DONE
    assert len(results(path)) == 3


def test_a_given_sampler_says_what_it_does_not_have() -> None:
    study = optuna.create_study(sampler=GivenSampler([{"x": 2.0}]))
    trial = study.ask()
    with pytest.raises(UserError, match="the search space has changed"):
        trial.suggest_float("x", 0, 1)
    with pytest.raises(UserError, match="'y'"):
        trial.suggest_float("y", 0, 1)
