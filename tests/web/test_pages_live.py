"""A real browser on a study that runs, on SQLite and PostgreSQL, wide and narrow."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from serving import CHROMIUM, ROOT, browser, served

from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study

pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")

STUDY = """
study_name: live
storage: "{url}"
task: {{name: xor, hidden: 4, steps: 60}}
search_space:
  activation: [relu, sigmoid, tanh]
  lr: {{type: float, low: 0.001, high: 50.0, log: true}}
probe: {{horizon: 8, neighbours: 2}}
sampler: random
n_trials: 6
"""


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize(
    ("database", "scheme"), [("sqlite_url", "light"), ("postgresql_url", "dark")]
)
def test_a_page_follows_a_study_and_keeps_its_zoom(
    tmp_path: Path, request: pytest.FixtureRequest, database: str, scheme: str
) -> None:
    from playwright.sync_api import expect

    any_database: str = request.getfixturevalue(database)
    (tmp_path / "study.yaml").write_text(STUDY.format(url=any_database))
    with contextlib.chdir(tmp_path):
        run_study(load_study_file("study.yaml"))
    with served(any_database) as (_, port), browser(port, scheme) as seen:
        page = seen.page
        seen.open()
        figure = page.locator("[data-figure=decisions_over_time]")
        plot = figure.locator(".js-plotly-plot")
        plot.evaluate("e => Plotly.relayout(e, {'xaxis.range': [1, 4], 'xaxis2.range': [1, 4]})")
        drawn = int(figure.get_attribute("data-drawn"))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "lyapopt", "run", "study.yaml", "-q", "--extra", "5"]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
        expect(page.locator("#summary")).to_contain_text("best")
        expect(figure).not_to_have_attribute("data-drawn", str(drawn))
        numbers = page.locator("#number")
        numbers.fill("10")
        numbers.press("Enter")
        expect(page.locator("[data-figure=trial_losses] .gtitle")).to_contain_text("trial 10")
        kept = plot.evaluate("e => e.layout.xaxis2.range.concat(e.layout.xaxis.range)")
        assert kept == [1, 4, 1, 4]
        seen.picture(f"live-{database.removesuffix('_url')}-{scheme}")
    assert seen.wrong == []


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_phone_s_width_filters_layouts_and_several_studies(tmp_path: Path) -> None:
    from playwright.sync_api import expect

    url = f"sqlite:///{tmp_path}/study.db"
    for name in ("live", "other"):
        text = STUDY.format(url=url).replace("study_name: live", f"study_name: {name}")
        (tmp_path / f"{name}.yaml").write_text(text)
        run_study(load_study_file(tmp_path / f"{name}.yaml"))
    with served(url) as (_, port), browser(port, "light", width=390) as seen:
        page = seen.page
        only = json.dumps(["activation", "relu"])
        seen.open(f"?study=live&only={only}")
        assert page.locator("#study").input_value() == "live"
        expect(page.locator("#filters [data-narrow] summary")).to_have_text("activation: relu")
        assert page.locator("html").evaluate("e => e.scrollWidth") <= 390
        seen.picture("phone")
        page.locator("#layout").select_option("compare")
        page.wait_for_selector("[data-figure=best_so_far][data-drawn]")
        expect(page.locator("#beside summary")).to_have_text("2 of 2 studies")
        legend = page.locator("[data-figure=best_so_far] .legendtext")
        assert sorted(legend.all_text_contents()) == ["live", "other"]
        of_other = page.locator("[data-figure=best_so_far] .trace:last-child .points path").first
        of_other.click(force=True)
        expect(page.locator("#of")).to_have_text("trial of other")
        number = int(page.locator("#number").input_value())
        trials = optuna.load_study(study_name="other", storage=url).trials
        expect(page.locator("#parameters")).to_contain_text(f"lr: {trials[number].params['lr']}")
        page.wait_for_url(lambda address: f"trial={number}&of=other" in address)
        seen.picture("phone-compare")
        assert page.locator("html").evaluate("e => e.scrollWidth") <= 390
        page.locator("#layout").select_option("pruning")
        page.wait_for_selector("[data-figure=signal_correlations][data-drawn]")
        page.locator("#study").select_option("other")
        page.wait_for_url(lambda address: "study=other" in address)
        page.wait_for_selector("article:not([data-drawn])", state="detached")
    assert seen.wrong == []
