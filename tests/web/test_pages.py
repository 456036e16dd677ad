"""Our pages: what they answer, and what a browser makes of it while a study runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from serving import CHROMIUM, browser, served

import lyapopt
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.storage import open_storage
from lyapopt.web.layouts import shipped_layouts
from lyapopt.web.pages.beside import PLACE
from lyapopt.web.pages.drawing import figure_beside

pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")

STUDY = """
study_name: shown
storage: sqlite:///study.db
task: {name: xor, hidden: 4, steps: 60}
search_space:
  activation: [relu, sigmoid, tanh]
  lr: {type: float, low: 0.001, high: 50.0, log: true}
probe: {horizon: 8, neighbours: 2}
sampler: random
n_trials: 16
trials_at_once: 8
pruner: lyapunov
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "study.yaml").write_text(STUDY)
    with contextlib.chdir(folder):
        run_study(load_study_file("study.yaml"))
    return folder / "study.db"


class Asked:
    """The pages without a server: what they answer to a question."""

    def __init__(self, database: Path) -> None:
        from werkzeug.test import Client

        from lyapopt.web.pages.app import Pages
        from lyapopt.web.pages.shelf import Shelf

        url = f"sqlite:///{database}"
        self._client = Client(Pages(Shelf(url, open_storage(url, create=False))))

    def __call__(self, path: str, **query: Any) -> Any:
        response = self._client.get(path, query_string=query)
        assert "script-src 'self'" in response.headers["Content-Security-Policy"]
        self.status = response.status_code
        return json.loads(response.data)


@pytest.fixture(scope="module")
def asked(database: Path) -> Asked:
    return Asked(database)


def test_each_figure_of_each_page_is_sent_as_plotly_takes_it_and_small(asked: Asked) -> None:
    start = asked("/api/start")
    assert start["studies"] == ["shown"]
    for name, layout in shipped_layouts().items():
        page = asked("/api/page", layout=name, study="shown")
        for panel in page["panels"]:
            figure = asked("/api/figure", layout=name, study="shown", index=panel["index"])
            assert asked.status == 200, (name, panel, figure)
            assert figure["data"] or figure["layout"]["annotations"]
            assert figure["layout"]["uirevision"] == "keep"
            assert len(json.dumps(figure)) < 300_000
        assert len(page["panels"]) == len(layout.panels) or layout.several


def test_a_point_of_several_studies_says_which_trial_of_which_study_it_is(
    database: Path, tmp_path: Path
) -> None:
    data, url = lyapopt.load(database), f"sqlite:///{tmp_path}/other.db"
    optuna.copy_study(
        from_study_name="shown", from_storage=f"sqlite:///{database}",
        to_study_name="<i>other</i>", to_storage=url,
    )  # fmt: skip
    other = lyapopt.load(url)
    for panel in shipped_layouts()["compare"].panels:
        figure = figure_beside(panel, [data, other])
        points = [
            (*divmod(number, PLACE), text)
            for trace in figure.data if trace.type == "scatter" and trace.hovertext is not None
            for number, text in zip(trace.customdata, trace.hovertext, strict=True)
        ]  # fmt: skip
        assert panel.figure == "activation_table" or {place for place, _, _ in points} == {0, 1}
        for place, number, text in points:
            name = ("shown", "&lt;i&gt;other&lt;/i&gt;")[place]
            assert text.startswith(f"<b>trial {number} of {name}</b>")
            assert number in set(data.trials["trial_number"])


def test_the_facts_of_a_study_are_those_of_its_tables(asked: Asked, database: Path) -> None:
    data = lyapopt.load(database)
    facts = asked("/api/page", study="shown")["studies"][0]
    assert facts["numbers"] == data.trials["trial_number"].tolist()
    assert {each["name"]: each["count"] for each in facts["states"]} == dict(data.overview.states)
    assert {each["name"]: each["count"] for each in facts["verdicts"]} == dict(
        data.overview.verdicts
    )
    assert facts["spent"] == data.overview.gradient_evaluations
    assert facts["first"] == facts["best"][0]["number"] == data.overview.best[0].number
    by_name = {each["name"]: each["choices"] for each in facts["filters"]}
    assert list(by_name) == ["activation", "verdict", "state"]
    counted = data.trials["params_activation"].value_counts()
    assert {c["value"]: c["count"] for c in by_name["activation"]} == dict(counted)


def test_a_trial_is_told_with_its_decisions_and_parameters_to_paste(
    asked: Asked, database: Path
) -> None:
    data = lyapopt.load(database)
    number = int(data.decisions["trial_number"].iloc[0])
    facts = asked("/api/trial", study="shown", number=number)
    [row] = data.trials[data.trials["trial_number"] == number].to_dict(orient="records")
    params = eval(facts["python"])
    assert params == {"activation": row["params_activation"], "lr": row["params_lr"]}
    from ruamel.yaml import YAML

    assert YAML(typ="safe").load(facts["yaml"]) == params
    decisions = data.decisions[data.decisions["trial_number"] == number]
    assert [each["reason"] for each in facts["decisions"]] == decisions["reason"].tolist()
    assert facts["verdict"] == row["verdict"]
    assert "no trial 999" in asked("/api/trial", study="shown", number=999)["error"]
    assert asked.status == 404


def test_a_filter_leaves_only_the_trials_it_names(asked: Asked, database: Path) -> None:
    trials = lyapopt.load(database).trials
    wanted = json.dumps(["activation", "relu"])
    index = [panel.figure for panel in shipped_layouts()["overview"].panels].index(
        "decisions_over_time"
    )
    figure = asked("/api/figure", study="shown", index=index, only=wanted)
    shown = {n for trace in figure["data"] if "hovertext" in trace for n in trace["customdata"]}
    is_relu = trials["params_activation"] == "relu"
    assert shown == set(trials.loc[is_relu, "trial_number"])


def test_what_is_not_there_is_refused_in_words(asked: Asked) -> None:
    assert "no study 'other'" in asked("/api/page", study="other")["error"]
    assert "no dashboard nix" in asked("/api/page", study="shown", layout="nix")["error"]
    assert "has no figure 99" in asked("/api/figure", study="shown", index=99)["error"]
    assert asked.status == 404


@pytest.fixture(scope="module")
def port(database: Path) -> Iterator[int]:
    with served(str(database)) as (_, port):
        yield port


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_click_on_a_point_shows_that_trial(port: int, database: Path, scheme: str) -> None:
    from playwright.sync_api import expect

    trials = optuna.load_study(study_name="shown", storage=f"sqlite:///{database}").trials
    with browser(port, scheme) as seen:
        page = seen.page
        seen.open()
        drawn = page.locator("article[data-drawn]")
        assert drawn.count() == len(shipped_layouts()["overview"].panels)
        best = int(page.locator("#number").input_value())
        point = page.locator("[data-figure=decisions_over_time] .points path").first
        point.click(force=True)
        expect(page.locator("#number")).not_to_have_value(str(best))
        number = int(page.locator("#number").input_value())
        expect(page.locator("#parameters")).to_contain_text(
            f"activation: {trials[number].params['activation']}"
        )
        expect(page.locator("#facts")).to_contain_text("gradient evaluations")
        page.locator("#after").click()
        expect(page.locator("#number")).to_have_value(str(number + 1))
        expect(page.locator("[data-figure=trial_losses] .gtitle")).to_contain_text(
            f"trial {number + 1}"
        )
        seen.picture(f"overview-{scheme}")
    assert seen.wrong == []
