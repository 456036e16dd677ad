"""Study files whose sampler probes: steering and screening through the runner."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from lyapopt.search.screening import ScreeningRecord
from lyapopt.search.steering import SteeringRecord
from lyapopt.store import TrajectoryStore
from lyapopt.study.file import load_study_file
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.preview import preview
from lyapopt.study.run.runner import run_study

STEERED = """
version: 1
study_name: s
storage: sqlite:///{path}/{name}.db
seed: 3
task: {{name: xor, hidden: 4, steps: 40}}
search_space:
  activation: [tanh, sigmoid, relu]
  lr: {{type: float, low: 0.01, high: 30.0, log: true}}
  init_seed: {{type: seed}}
probe: {{horizon: 8, neighbours: 1}}
sampler: {{name: edge-of-chaos, steer: lr, target: adaptive, base: tpe}}
pruner: none
n_trials: 9
trials_at_once: 3
"""
SCREENED = STEERED.replace(
    "{{name: edge-of-chaos, steer: lr, target: adaptive, base: tpe}}",
    "{{name: screening, candidates: 3, rule: paper, base: tpe}}",
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text.format(path=folder, name=name))
    return path


def trials(path: Path) -> list[FrozenTrial]:
    file = load_study_file(path)
    return optuna.load_study(study_name="s", storage=file.storage).trials


def results(path: Path) -> list[tuple[Any, ...]]:
    return [(t.params, t.values, t.user_attrs.get("exponent")) for t in trials(path)]


@pytest.mark.parametrize("text", [STEERED, SCREENED], ids=["steered", "screened"])
def test_the_same_file_gives_the_same_study(tmp_path: Path, text: str) -> None:
    paths = [write(tmp_path, name, text) for name in "ab"]
    for path in paths:
        run_study(load_study_file(path))
    assert results(paths[0]) == results(paths[1])
    assert len(results(paths[0])) == 9


@pytest.mark.parametrize("text", [STEERED, SCREENED], ids=["steered", "screened"])
def test_a_dry_run_counts_what_the_first_group_costs_with_its_probes(
    tmp_path: Path, text: str
) -> None:
    path = write(tmp_path, "a", text.replace("n_trials: 9", "n_trials: 3"))
    estimate = preview(load_study_file(path)).cost
    run_study(load_study_file(path))
    costs = [trial.user_attrs["gradient_evaluations"] for trial in trials(path)]
    assert estimate == pytest.approx(sum(costs) / 3, rel=1e-5)


def test_probes_are_charged_to_the_budget_and_stored(tmp_path: Path) -> None:
    path = write(tmp_path, "a", STEERED)
    result = run_study(load_study_file(path, ["budget.gradient_evaluations=700"]))
    assert "budget" in result.reason
    probes = 0
    store = TrajectoryStore(load_study_file(path).storage)
    for trial in trials(path):
        record = SteeringRecord.of_trial(trial)
        assert record is not None
        assert record.gradient_evaluations == 16 * len(record.probes)
        assert trial.user_attrs["gradient_evaluations"] > record.gradient_evaluations + 30
        stored = store.exponents("s").query(f"trial_number == {trial.number}")
        assert len(stored) == 1 + len(record.probes)
        probes += record.gradient_evaluations
    assert result.ledger.gradient_evaluations > probes > 0


def test_a_study_that_was_interrupted_between_groups_goes_on_as_if_it_had_not_been(
    tmp_path: Path,
) -> None:
    whole, parts = write(tmp_path, "a", STEERED), write(tmp_path, "b", STEERED)
    run_study(load_study_file(whole))
    run_study(load_study_file(parts, ["n_trials=3"]))
    run_study(load_study_file(parts))
    assert results(whole) == results(parts)


def test_an_interrupted_group_is_steered_to_the_same_rates_again(tmp_path: Path) -> None:
    class Interrupter(StudyListener):
        groups = 0

        def group_started(self, numbers: list[int]) -> None:
            self.groups += 1
            if self.groups == 2 and threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt

    whole, parts = write(tmp_path, "a", STEERED), write(tmp_path, "b", STEERED)
    run_study(load_study_file(whole))
    assert run_study(load_study_file(parts), Interrupter()).interrupted
    run_study(load_study_file(parts))
    complete = [t for t in trials(parts) if t.state == optuna.trial.TrialState.COMPLETE]
    rates = {tuple(sorted(t.params.items())): t.value for t in complete}
    assert rates == {tuple(sorted(t.params.items())): t.value for t in trials(whole)}


def test_seeds_are_screened(tmp_path: Path) -> None:
    path = write(tmp_path, "a", SCREENED)
    run_study(load_study_file(path, ["n_trials=3"]))
    for trial in trials(path):
        record = ScreeningRecord.of_trial(trial)
        assert record is not None
        assert len({c.params["init_seed"] for c in record.candidates}) == 3
        assert record.candidates[record.chosen].params == trial.params


def test_loss_and_exponent_are_two_objectives_of_a_study(tmp_path: Path) -> None:
    path = write(tmp_path, "a", STEERED)
    overrides = ["value=both", "directions=[minimize, minimize]", "n_trials=3"]
    overrides.append("search_space.lr.high=0.5")
    run_study(load_study_file(path, [*overrides, "sampler=random"]))
    for trial in trials(path):
        assert trial.values[1] == pytest.approx(trial.user_attrs["exponent"], rel=1e-5)


def test_a_study_of_exponents_costs_its_probes(tmp_path: Path) -> None:
    path = write(tmp_path, "a", STEERED)
    overrides = ["value=exponent", "sampler=random", "n_trials=3", "search_space.lr.high=1.0"]
    result = run_study(load_study_file(path, overrides))
    assert result.ledger.gradient_evaluations == 3 * 16
