"""Whole studies of `lyapopt bench studies`: counted alike, run once, compared in pairs."""

from __future__ import annotations

import math
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

from lyapopt.bench.studies import archive
from lyapopt.bench.studies.archive import StudyArchive
from lyapopt.bench.studies.networks import readme
from lyapopt.bench.studies.problems import PROBLEMS, Length
from lyapopt.bench.studies.report import StudyReport
from lyapopt.bench.studies.runs import OURS, PLAIN, found_in
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study


def made_trial(value: float | None, cost: float) -> FrozenTrial:
    state = TrialState.PRUNED if value is None else TrialState.COMPLETE
    return optuna.create_trial(state=state, value=value, user_attrs={"gradient_evaluations": cost})


def test_a_training_counts_if_it_was_whole_and_within_the_budget() -> None:
    trials = [made_trial(v, c) for v, c in ((0.1, 10), (None, 5), (3.0, 80), (2.0, 80), (1.0, 80))]
    ranked = found_in(trials, 2, 200.0)
    assert (ranked.value, ranked.spent, ranked.trials, ranked.completed) == (2.0, 255, 2, 3)
    assert found_in(trials, 0, None).value == 0.1
    assert math.isinf(found_in(trials, 2, 90.0).value)


def test_pairs_of_studies_are_better_worse_or_alike() -> None:
    values = {
        "good": (0.5, 1.0),
        "bad": (1.0, 0.5),
        "solved": (1e-30, 1e-9),
        "none": (1.0, math.inf),
    }
    rows = [
        {"problem": name, "length": length, "seed": seed, "method": method,
         "value": value, "spent": 60.0 if method == OURS else 80.0}
        for name, pair in values.items()
        for length in ("5 trainings", "30 trials")
        for seed in range(6)
        for method, value in zip((OURS, PLAIN), pair, strict=True)
    ]  # fmt: skip
    report = StudyReport(pd.DataFrame(rows))
    losses = report.losses.set_index("problem")
    assert losses["verdict"].to_dict() == {
        "good": "better", "bad": "worse", "solved": "alike", "none": "better"
    }  # fmt: skip
    assert losses.loc["good", ["ratio", "wins", "losses"]].tolist() == [0.5, 6, 0]
    assert losses.loc["solved", "ties"] == 6
    assert not report.holds
    assert report.saved["saved, median"].tolist() == [0.25] * 4


def test_the_readme_s_network_is_the_one_that_is_searched_for() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    module = next(block for block in text.split("```python\n") if block.startswith("# mytask.py"))
    own: dict[str, object] = {}
    exec(module.split("```")[0], own)
    theirs, ours = own["build"]({"lr": 0.1}), readme({"lr": 0.1})  # type: ignore[operator]
    assert str(theirs.model) == str(ours.model)
    assert (theirs.steps, theirs.batch_size) == (ours.steps, ours.batch_size)
    assert (theirs.data[0] == ours.data[0]).all()


def test_studies_are_run_once_and_repeat_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LENGTHS", (Length(trainings=5), Length(trials=3)))
    said: list[str] = []
    made = StudyArchive(f"sqlite:///{tmp_path}/runs/a.db", lambda p: run_study(load_study_file(p)))
    rows = made.results(["xor"], [0], said.append)
    assert len(said) == len(rows) == 4
    assert rows["value"].map(math.isfinite).all()
    assert (rows["spent"] < 7 * PROBLEMS["xor"].steps).all()
    pd.testing.assert_frame_equal(made.results(["xor"], [0], said.append), rows)
    assert len(said) == 4
    other = StudyArchive(f"sqlite:///{tmp_path}/runs/b.db", lambda p: run_study(load_study_file(p)))
    pd.testing.assert_frame_equal(other.results(["xor"], [0]), rows)
