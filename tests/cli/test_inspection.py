"""`status`, `trials` and `best` of studies that were made by hand, with Optuna's own means."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from command_line import command, environment, lyapopt
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from ruamel.yaml import YAML

from lyapopt.cli.output import print_best, print_trials
from lyapopt.cli.trial_table import trial_lines
from lyapopt.store import RUN_ATTRIBUTE, RunRecord, TrajectoryStore, new_run_id
from lyapopt.study.analysis.overview import Overview, load_study
from lyapopt.yaml_text import yaml_lines

SPACE = {
    "activation": CategoricalDistribution(["relu", "off", None, True]),
    "lr": FloatDistribution(1e-6, 1.0, log=True),
    "units": IntDistribution(1, 99),
}


def add(
    study: optuna.Study, state: TrialState, values: list[float] | None = None, **attributes: object
) -> None:
    number = len(study.trials)
    started = datetime(2026, 1, 1)
    study.add_trial(
        create_trial(
            state=state,
            values=values,
            params={"activation": ["relu", "off", None, True][number % 4], "lr": 1e-5, "units": 7},
            distributions=SPACE,
            user_attrs=attributes,
        )
        if state.is_finished()
        else optuna.trial.FrozenTrial(
            number=number,
            state=state,
            value=None,
            datetime_start=started,
            datetime_complete=None,
            params={"lr": 0.5},
            distributions={"lr": SPACE["lr"]},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=-1,
        )
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With one study, of which a trial is in every state."""
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="mixed", storage=storage)
    run = new_run_id()
    add(study, TrialState.COMPLETE, [0.5], exponent=0.25, verdict="edge", gradient_evaluations=100)
    add(
        study,
        TrialState.COMPLETE,
        [0.123456789],
        exponent=-0.0123456,
        exponent_low=-0.5,
        exponent_high=0.125,
        verdict="cool",
        gradient_evaluations=100,
    )
    add(study, TrialState.PRUNED, verdict="hot", gradient_evaluations=20, **{RUN_ATTRIBUTE: run})
    add(study, TrialState.FAIL, verdict="failed")
    add(study, TrialState.FAIL, verdict="interrupted", gradient_evaluations=5)
    add(study, TrialState.RUNNING)
    with TrajectoryStore(storage) as store:
        store.record(RunRecord(run, "mixed", 2, "pruned", reason="too hot at step 20"))
    return tmp_path


def test_the_status_counts_states_verdicts_and_costs(folder: Path) -> None:
    shown = lyapopt(folder, "status", "study.db")
    assert shown.returncode == 0, shown.stderr
    for said in (
        "trial 1, value 0.1235, exponent -0.01235 [-0.5, 0.125], cool",
        "2 complete, 1 pruned, 1 failed, 1 interrupted, 1 running",
        "1 edge, 1 cool, 1 hot",
        "225 gradient evaluations; pruning saved about 80 (26%)",
        "trial 5, for ",
    ):
        assert said in shown.stdout


def test_a_trial_that_plain_optuna_failed_is_shown_as_failed(tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}")
    add(study, TrialState.FAIL)
    add(study, TrialState.FAIL, verdict="interrupted")
    shown = lyapopt(tmp_path, "trials", "study.db", "-f", "json")
    assert [trial["state"] for trial in json.loads(shown.stdout)] == ["failed", "interrupted"]


def test_the_overview_agrees_with_optuna_on_the_best_trial(folder: Path) -> None:
    storage = f"sqlite:///{folder / 'study.db'}"
    mine = load_study(storage, "mixed")
    theirs = optuna.load_study(study_name="mixed", storage=storage)
    [best] = Overview.of(mine).best
    assert best.number == theirs.best_trial.number
    for trial, frozen in zip(mine.trials, theirs.trials, strict=True):
        assert trial.number == frozen.number
        assert trial.params == frozen.params
        assert trial.attributes == frozen.user_attrs
        assert trial.started == frozen.datetime_start
        assert trial.value == (frozen.value if trial.state == "complete" else None)


def test_trials_are_the_same_in_every_format(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = load_study(f"sqlite:///{folder / 'study.db'}", "mixed").trials
    print_trials(trials, "json")
    as_json = json.loads(capsys.readouterr().out)
    print_trials(trials, "yaml")
    assert YAML(typ="safe").load(capsys.readouterr().out) == as_json
    print_trials(trials, "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["reason"] for row in rows] == ["", "", "too hot at step 20", "", "", ""]
    assert [row["trial"] for row in rows] == [str(trial["trial"]) for trial in as_json]
    assert float(rows[1]["value"]) == as_json[1]["value"] == 0.123456789
    assert [row["params_lr"] for row in rows] == [str(t["params"]["lr"]) for t in as_json]
    print_trials(trials, "table")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(trials)
    assert "0.1235" in lines[2]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_the_table_fits_the_terminal(folder: Path, width: int) -> None:
    trials = load_study(f"sqlite:///{folder / 'study.db'}", "mixed").trials
    lines = list(trial_lines(trials, width))
    assert all(len(line) <= width for line in lines)
    assert "value" in lines[0]


def test_the_best_trial_can_be_pasted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = Overview.of(load_study(f"sqlite:///{folder / 'study.db'}", "mixed")).best
    print_best(best, "yaml")
    pasted = YAML(typ="safe").load(capsys.readouterr().out)
    assert pasted["params"] == {"activation": "off", "lr": 1e-5, "units": 7}
    print_best(best, "table")
    after = capsys.readouterr().out.partition("params:\n")[2]
    assert YAML(typ="safe").load(after) == pasted["params"]


def test_of_several_studies_one_must_be_named(folder: Path) -> None:
    optuna.create_study(study_name="other", storage=f"sqlite:///{folder / 'study.db'}")
    refused = lyapopt(folder, "status", "study.db")
    assert refused.returncode == 2
    assert "2 studies" in refused.stderr
    assert "  mixed\n  other\n" in refused.stderr
    assert lyapopt(folder, "status", "sqlite:///study.db", "--study", "mixed").returncode == 0
    unknown = lyapopt(folder, "status", "study.db", "--study", "mixd")
    assert unknown.returncode == 2
    assert "Did you mean 'mixed'?" in unknown.stderr


def test_a_pareto_front_is_the_best_of_several_objectives(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=storage, directions=["minimize", "maximize"])
    for values in ([1.0, 1.0], [2.0, 3.0], [2.0, 2.0], [0.5, 0.5]):
        add(study, TrialState.COMPLETE, values)
    best = Overview.of(load_study(storage, study.study_name)).best
    assert {trial.number for trial in best} == {trial.number for trial in study.best_trials}


def test_a_journal_is_read_through_optuna(tmp_path: Path) -> None:
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
    storage = optuna.storages.JournalStorage(backend)
    study = optuna.create_study(study_name="kept in a journal", storage=storage)
    add(study, TrialState.COMPLETE, [0.5], exponent=0.25, verdict="edge")
    shown = lyapopt(tmp_path, "best", f"journal:///{tmp_path / 'study.log'}", "-f", "json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["value"] == 0.5


def test_words_that_yaml_takes_for_something_else_are_quoted() -> None:
    tricky = ["no", "off", "null", "1e-5", "", " a", "a: b", "#", "~", "true", "é", "- x", "0x1f"]
    data = {"words": tricky, "numbers": [1e-5, 1e300, -0.0, 3.0, 12, float("inf")], "none": None}
    assert YAML(typ="safe").load("\n".join(yaml_lines(data))) == data


def test_a_reader_that_leaves_is_no_error(folder: Path) -> None:
    process = subprocess.Popen(
        command("trials", "study.db", "-f", "yaml"),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=300) == 1
    process.stderr.close()
