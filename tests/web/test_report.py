"""The report: one page without a network, whose numbers are those of the study."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import optuna
import pytest
from scipy.stats import pearsonr
from serving import CHROMIUM, SCREENSHOTS
from typer.testing import CliRunner

import lyapopt
from lyapopt.cli.main import app
from lyapopt.errors import UserError
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study
from lyapopt.web.inside.note import note_of
from lyapopt.web.pages.facts import study_facts
from lyapopt.web.report.statistics import (
    correlation_table,
    ending_table,
    fisher_interval,
    parameter_table,
)

HOSTILE = "<script>alert(1)</script> \u202e \u0645\u0631\u062d\u0628\u0627"


def made(folder: Path, name: str = "made") -> str:
    """A study with exponents, costs and pruned trials, as plain Optuna stores it."""
    url = f"sqlite:///{folder}/study.db"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=url, study_name=name)

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 0.01, 1.0, log=True)
        trial.suggest_categorical("activation", ["relu", HOSTILE])
        trial.set_user_attr("exponent", lr - 0.1)
        trial.set_user_attr("verdict", "edge")
        trial.set_user_attr("gradient_evaluations", 100.0 if trial.number % 3 else 10.0)
        if trial.number % 3 == 0:
            raise optuna.TrialPruned
        return (lr - 0.3) ** 2 + 0.01

    study.optimize(objective, n_trials=30)
    return url


def test_a_report_is_one_page_with_the_numbers_of_the_study(tmp_path: Path) -> None:
    url = made(tmp_path, HOSTILE)
    target = tmp_path / "report.html"
    result = CliRunner().invoke(app, ["report", url, "-o", str(target)])
    assert result.exit_code == 0, result.output
    text = target.read_text()
    body = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "default-src 'none'" in body
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", body)
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "20 complete, 10 pruned" in body
    assert "2,100 gradient evaluations" in body
    assert "pruning saved about 900 (30%), measuring deducted" in body
    trials = lyapopt.load(url).trials.query("state == 'complete'")
    x, y = trials["exponent"].to_numpy(), trials["value"].to_numpy()
    found = pearsonr(x, y)
    low, high = found.confidence_interval()
    assert f"{found.statistic:.3g} [{low:.3g}, {high:.3g}]" in body
    assert text.count('class="plotly-graph-div"') >= 5


RANKED = """
version: 1
study_name: ranked
storage: sqlite:///{folder}/ranked.db
task: {{name: digits, model: mlp, hidden: [4], steps: 80}}
search_space: {{lr: {{type: float, low: 0.0001, high: 3.0, log: true}}}}
budget: {{gradient_evaluations: 480}}
"""


def test_what_was_trained_in_full_is_shown_of_a_study_that_ranks_and_what_was_chosen_for_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "ranked.yaml").write_text(RANKED.format(folder=tmp_path))
    path, target = str(tmp_path / "ranked.yaml"), tmp_path / "report.html"
    run_study(load_study_file(path))
    assert CliRunner().invoke(app, ["report", path, "-o", str(target)]).exit_code == 0
    url = f"sqlite:///{tmp_path}/ranked.db"
    data, full = lyapopt.load(url, "ranked"), lyapopt.load(url, "ranked-promoted")
    [best] = full.overview.best
    body = re.sub(r"<script.*?</script>|<[^>]*>", " ", target.read_text(), flags=re.DOTALL)
    words = " ".join(body.split())
    shown = f"in the study ranked-promoted trial value exponent verdict parameters {best.number} "
    assert f"{shown}{best.values[0]:.6g} " in words
    assert "Ranked, trained for 10 of 80 steps" in words
    for chosen in ("rank_at 10 ", "EdgeOfChaosSampler", "NopPruner", "probe.horizon 10 "):
        assert chosen in words
    assert "trained in full" not in correlation_table(data).caption
    facts, value = study_facts(data), f"{best.values[0]:.5g}"
    assert facts["trained"] == "trained for 10 of 80 steps"
    assert facts["promoted"]["best"] == {"number": best.number, "value": value}
    assert study_facts(full)["promoted"] is None
    link = "[ranked\\-promoted](/lyapopt/?study=ranked-promoted)"
    assert f"Best, trained in full in {link}: trial {best.number}, {value} (" in note_of(data)


def test_fisher_s_interval_is_that_of_scipy() -> None:
    draws = np.random.default_rng(0)
    x = draws.normal(size=40)
    y = x + draws.normal(size=40)
    found = pearsonr(x, y)
    assert fisher_interval(found.statistic, 40) == pytest.approx(found.confidence_interval())
    assert math.isnan(fisher_interval(0.5, 3)[0])


def test_endings_are_counted_by_reason_with_what_they_cost(tmp_path: Path) -> None:
    data = lyapopt.load(made(tmp_path))
    rows = ending_table(data).rows
    assert [row[2:] for row in rows] == [["20", "100", "2,000"], ["10", "10", "100"]]
    [lr, activation] = parameter_table(data).rows
    assert lr[0] == "lr"
    assert "relu" in activation[1]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    url = made(tmp_path)
    for arguments, said in (
        (["-o", str(tmp_path)], "a folder"),
        (["-o", str(tmp_path / "no" / "such.html")], "No such file"),
        (["--layout", "compare"], "a report is of one study"),
        (["--study", "nix"], "no study 'nix'"),
    ):
        result = CliRunner().invoke(app, ["report", url, *arguments])
        assert isinstance(result.exception, UserError), result.output
        assert said in str(result.exception)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_the_report_and_nothing_executes(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    target = tmp_path / "report.html"
    CliRunner().invoke(app, ["report", made(tmp_path, HOSTILE), "-o", str(target)])
    wrong: list[str] = []
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = launched.new_page(viewport={"width": 390, "height": 800})
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: wrong.append(asked.url)
                if asked.url.startswith("http") else None)  # fmt: skip
        page.goto(f"file://{target}")
        page.wait_for_selector(".main-svg")
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=str(SCREENSHOTS / "report.png"), full_page=True)
        width = page.locator("html").evaluate("e => e.scrollWidth")
        launched.close()
    assert wrong == []
    assert width <= 390
