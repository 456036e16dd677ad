"""`status`, `trials` and `best` of studies that were made by hand, with Optuna's own means."""

from __future__ import annotations

import csv
import io
import json
import math
import signal
import subprocess
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from command_line import Run, command, environment, lyapopt, start
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from ruamel.yaml import YAML

from lyapopt.cli.output import print_best, print_trials
from lyapopt.cli.trial_table import PlainTable
from lyapopt.search._optuna.storage import set_study_attribute
from lyapopt.store import RUN_ATTRIBUTE, RunRecord, TrajectoryStore, new_run_id
from lyapopt.store.trials import StoredTrial
from lyapopt.study.analysis.overview import Overview, load_study, ranked
from lyapopt.study.naming import DEFINITION
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
        verdict="neutral",
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
        "trial 1, value 0.1235, exponent -0.01235 [-0.5, 0.125], neutral",
        "2 complete, 1 pruned, 1 failed, 1 interrupted, 1 running",
        "1 edge, 1 neutral, 1 hot",
        "225 gradient evaluations; pruning saved about 80 (26%), measuring deducted",
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


def test_how_a_trial_was_measured_is_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    how = {"measured": "neighbours in float64"}
    trials = [StoredTrial(0, "complete", (1.0,), {"lr": 0.1}, how), StoredTrial(1, "fail", (), {})]
    print_trials(trials, "json")
    assert [trial.get("measured") for trial in json.loads(capsys.readouterr().out)] == [
        "neighbours in float64",
        None,
    ]
    print_trials(trials, "csv")
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [row["measured"] for row in rows] == ["neighbours in float64", ""]
    print_trials(trials[1:], "csv")
    assert "measured" not in capsys.readouterr().out


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
    table, whole = PlainTable(trials, width), PlainTable(trials)
    lines = list(table.lines())
    assert all(len(line) <= width for line in lines)
    assert "value" in lines[0]
    titles = next(whole.lines()).split()
    assert sorted([*lines[0].split(), *table.left_out]) == sorted(titles)
    assert whole.left_out == []


def test_the_best_trial_can_be_pasted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = Overview.of(load_study(f"sqlite:///{folder / 'study.db'}", "mixed")).best
    print_best(best, "yaml")
    pasted = YAML(typ="safe").load(capsys.readouterr().out)
    assert pasted["params"] == {"activation": "off", "lr": 1e-5, "units": 7}
    print_best(best, "table")
    after = capsys.readouterr().out.partition("params:\n")[2]
    assert YAML(typ="safe").load(after) == pasted["params"]


def test_columns_rows_and_their_order_are_chosen(folder: Path, run: Run) -> None:
    def rows(*options: str) -> list[dict[str, object]]:
        code, out, err = run("trials", "study.db", "-f", "json", *options)
        assert (code, err) == (0, "")
        found: list[dict[str, object]] = json.loads(out)
        return found

    def numbers(*options: str) -> list[object]:
        return [row["trial"] for row in rows(*options)]

    assert numbers("--where", 'verdict == "neutral" or exponent > 0') == [0, 1]
    assert numbers("--where", "value < 0.2") == [1]
    assert numbers("--where", 'state in ["failed", "running"]', "--sort", "-trial") == [5, 3]
    assert numbers("--where", 'activation == "off"') == [1]
    assert numbers("--sort", "value") == [1, 0, 2, 3, 4, 5]
    assert numbers("--sort", "-value,-trial") == [0, 1, 5, 4, 3, 2]
    assert numbers("--sort", "verdict,-trial") == [0, 2, 1, 5, 4, 3]
    some = rows("--columns", "trial,lr, gradient_evaluations", "--where", "trial == 5")
    assert some == [{"trial": 5, "lr": 0.5, "gradient_evaluations": 0.0}]
    _, out, _ = run("trials", "study.db", "--columns", "trial,reason,units")
    assert out.splitlines()[3].split() == ["2", "too", "hot", "at", "step", "20", "7"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--where", "verdict = 3"], "compares with ==, not ="),
        (["--where", "verdict == edge"], 'a text is in quotes: "edge"'),
        (["--where", "exponnt > 0"], "no column is called exponnt; did you mean exponent?"),
        (["--where", "value >"], "invalid syntax"),
        (["--where", "value"], "is no comparison"),
        (["--where", "1"], "is no comparison"),
        (["--where", "verdict < 3"], "for example --where"),
        (["--where", "@x > 3"], "knows columns, numbers and texts"),
        (["--where", "trial.__class__"], "knows columns, numbers and texts"),
        (["--sort", "val"], "no column is called val"),
        (["--sort", ","], "--sort is empty"),
        (["--columns", "trial,lrr"], "no column is called lrr; did you mean lr?"),
        (["--columns", ""], "--columns is empty"),
    ],
)
def test_what_cannot_be_chosen_is_said_in_a_line(
    folder: Path, options: list[str], said: str, run: Run
) -> None:
    code, out, err = run("trials", "study.db", *options)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_number_that_json_has_not_is_null_and_the_reason_says_what_it_was(
    tmp_path: Path, run: Run
) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}")
    code, empty, _ = run("best", "study.db", "-f", "json")
    assert (code, json.loads(empty)["trial"]) == (3, None)
    assert "has no completed trial" in json.loads(empty)["reason"]
    assert json.loads(run("best", "study.db", "-k", "2", "-f", "json")[1]) == []
    add(study, TrialState.COMPLETE, [math.inf], exponent=math.nan)
    for arguments in (["best"], ["best", "-k", "1"], ["trials"]):
        code, out, _ = run(*arguments, "study.db", "-f", "json")
        assert code == 0
        document = json.loads(out, parse_constant=lambda name: pytest.fail(name))
        row = document[0] if isinstance(document, list) else document
        assert (row["value"], row["exponent"]) == (None, None)
        assert row["reason"] == "value is inf; exponent is nan"
    status = run("status", "study.db", "-f", "json")[1]
    assert json.loads(status)["best"][0]["reason"] == "value is inf; exponent is nan"


def test_the_best_trials_are_listed_best_first(folder: Path, run: Run) -> None:
    _, out, _ = run("best", "study.db", "-k", "5", "-f", "csv")
    assert [row["trial"] for row in csv.DictReader(io.StringIO(out))] == ["1", "0"]
    fronts = [StoredTrial(n, "complete", v) for n, v in enumerate([(1, 1), (2, 3), (0, 2), (3, 0)])]
    assert [trial.number for trial in ranked(fronts, ["minimize"] * 2)] == [2, 0, 3, 1]


def test_a_running_trial_shows_its_step_and_what_it_has_cost_so_far(
    tmp_path: Path, run: Run
) -> None:
    study = optuna.create_study(study_name="live", storage=f"sqlite:///{tmp_path / 'study.db'}")
    trial = study.ask()
    trial.suggest_float("lr", 0, 1)
    for step in (20, 75):
        trial.report(2.5, step)
    shown = run("status", "study.db")[1]
    assert "cost      0 gradient evaluations, and 75 so far of trials that are running" in shown
    assert ", at step 75 with 2.5: lr=0." in shown
    document = json.loads(run("status", "study.db", "-f", "json")[1])
    assert document["states"]["running"] == 1
    assert (document["so_far_of_running"], document["running"][0]["step"]) == (75.0, 75)
    as_yaml = YAML(typ="safe").load(run("status", "study.db", "-f", "yaml")[1])
    assert as_yaml["states"] == document["states"]
    [row] = csv.DictReader(io.StringIO(run("status", "study.db", "-f", "csv")[1]))
    assert (row["study"], row["running"], row["so_far_of_running"]) == ("live", "1", "75.0")


def test_what_measuring_costs_more_than_pruning_saves_is_said_so(tmp_path: Path, run: Run) -> None:
    study = optuna.create_study(study_name="dear", storage=f"sqlite:///{tmp_path / 'study.db'}")
    costs = {"gradient_evaluations": 100, "lyapopt:measuring": 60}
    add(study, TrialState.COMPLETE, [0.5], **costs)
    add(study, TrialState.PRUNED, **costs)
    add(study, TrialState.RUNNING, **costs)
    shown = run("status", "study.db")[1]  # of two trainings for 80
    assert "gradient evaluations; measuring cost about 120 (150%) more than pruning saved" in shown
    assert json.loads(run("status", "study.db", "-f", "json")[1])["saved"] == -120


def test_a_watched_status_shows_what_is_new_until_ctrl_c(folder: Path) -> None:
    watching = start(folder, "status", "study.db", "--watch", "-f", "csv")
    assert watching.stdout is not None
    watching.stdout.readline()
    assert watching.stdout.readline().startswith("mixed,2,1,1,1,1,0,1,")
    add(
        optuna.load_study(study_name="mixed", storage=f"sqlite:///{folder / 'study.db'}"),
        TrialState.COMPLETE,
        [0.01],
    )
    found = [watching.stdout.readline() for _ in range(3)]
    assert found[-1].startswith("mixed,3,1,1,1,1,0,6,0.01,")
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=60)
    assert (watching.returncode, errors) == (0, "")


def test_what_was_promoted_is_the_best(tmp_path: Path, run: Run) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    search = optuna.create_study(study_name="search", storage=storage)
    add(search, TrialState.COMPLETE, [0.5])
    full = optuna.create_study(study_name="search-promoted", storage=storage)
    best = json.loads(run("best", "study.db", "-f", "json")[1])
    assert best["value"] == 0.5
    assert "again" not in best  # there is no file that says what to train
    set_study_attribute(search, DEFINITION, "{}")
    add(full, TrialState.COMPLETE, [0.125])
    best = json.loads(run("best", "study.db", "-f", "json")[1])
    assert (best["value"], best["study"]) == (0.125, "search-promoted")
    assert best["again"] == "lyapopt replay study.db --study search-promoted --trial 0"
    [listed] = json.loads(run("best", "study.db", "-k", "2", "-f", "json")[1])
    assert (listed["study"], listed["trial"]) == ("search-promoted", 0)
    assert run("best", "study.db", "-k", "2", "-f", "csv")[1].startswith("study,trial,")
    assert run("best", "study.db", "-k", "2")[1].startswith("study search-promoted\n")
    shown = run("status", "study.db")[1]
    assert "promoted  trial 0, value 0.125, trained in full (study search-promoted)" in shown
    assert "best      trial 0, value 0.5" in shown


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
    assert "again" not in json.loads(shown.stdout)


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
