"""Studies of every kind are shown, or it is said what is missing; nothing in them executes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from serving import CHROMIUM, browser, served
from werkzeug.test import Client

from lyapopt.bench.store.filling import add_trials
from lyapopt.store import new_run_id
from lyapopt.study.run.storage import open_storage
from lyapopt.web.inside import refresh_studies
from lyapopt.web.layouts import DEFAULT, shipped_layouts
from lyapopt.web.pages.app import Pages
from lyapopt.web.pages.shelf import Shelf
from lyapopt.web.report import study_report

pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
NAMES = (
    MARKUP,
    "x" * 200,
    "\u0645\u0631\u062d\u0628\u0627 \u4e16\u754c \U0001f600",
    "a/../b?c#d&e=f",
)


def ended(
    value: Callable[[optuna.Trial], float], count: int, **options: Any
) -> Callable[[str], optuna.Study]:
    """Makes a study whose objective is this."""

    def make(url: str) -> optuna.Study:
        directions = options.get("directions", ["minimize"])
        study = optuna.create_study(storage=url, study_name="odd", directions=directions)
        study.optimize(value, n_trials=count, catch=(ZeroDivisionError,))
        return study

    return make


def measured(trial: optuna.Trial) -> float:
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    trial.set_user_attr("exponent", lr)
    trial.set_user_attr("verdict", "edge")
    return lr


def pruned(trial: optuna.Trial) -> float:
    measured(trial)
    raise optuna.TrialPruned


def odd_numbers(trial: optuna.Trial) -> float:
    measured(trial)
    trial.set_user_attr("exponent", [math.nan, math.inf, "?", 1e300][trial.number % 4])
    return [math.inf, -math.inf, 1e300, 0.0][trial.number % 4]


def many(trial: optuna.Trial) -> float:
    return sum(trial.suggest_float(f"a_rather_long_name_{i}", 0, 1) for i in range(40))


def hostile(trial: optuna.Trial) -> float:
    measured(trial)
    trial.suggest_categorical(MARKUP, [MARKUP, "b"])
    trial.suggest_categorical("activation", [MARKUP, "%{x}", "relu"])
    trial.set_user_attr("verdict", MARKUP)
    trial.set_user_attr("reason", MARKUP)
    trial.set_user_attr("gradient_evaluations", "many")
    return 1.0


STUDIES = {
    "empty": ended(measured, 0),
    "one": ended(measured, 1),
    "two": ended(measured, 2),
    "pruned": ended(pruned, 4),
    "failed": ended(lambda trial: trial.number / 0, 3),
    "odd numbers": ended(odd_numbers, 8),
    "two objectives": ended(lambda t: (measured(t), 1.0), 6, directions=["minimize", "maximize"]),
    "maximised": ended(measured, 6, directions=["maximize"]),
    "40 parameters": ended(many, 12),
    "hostile": ended(hostile, 12),
    "plain": ended(lambda trial: trial.suggest_int("n", 0, 9), 12),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.mark.parametrize("kind", STUDIES)
def test_every_page_of_every_study_answers(kind: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = STUDIES[kind](url)
    shelf = Shelf(url, open_storage(url, create=False))
    client = Client(Pages(shelf))
    for name in shipped_layouts():
        page = client.get("/api/page", query_string={"study": "odd", "layout": name})
        assert page.status_code == 200, page.text
        for panel in page.json["panels"]:
            asked = {"study": "odd", "layout": name, "index": panel["index"]}
            figure = client.get("/api/figure", query_string=asked)
            assert figure.status_code == 200, (panel, figure.text)
            assert len(figure.data) < 300_000
            json.loads(figure.data, parse_constant=lambda what: pytest.fail(f"{what} is no JSON"))
            if not figure.json["data"]:
                assert figure.json["layout"]["annotations"][0]["text"]
    for trial in study.trials[:3]:
        facts = client.get("/api/trial", query_string={"study": "odd", "number": trial.number})
        assert facts.status_code == 200, facts.text
    notes = client.get("/api/page", query_string={"study": "odd"}).json["studies"][0]["notes"]
    assert notes
    refresh_studies(url)
    report = study_report(shelf.study("odd").data, shipped_layouts()[DEFAULT], "lyapopt report")
    assert "<script>alert" not in report
    assert "<img src=x" not in report


def test_any_name_of_a_study_opens_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    for name in NAMES:
        optuna.create_study(storage=url, study_name=name).optimize(measured, n_trials=2)
    client = Client(Pages(Shelf(url, open_storage(url, create=False))))
    assert client.get("/api/start").json["studies"] == list(NAMES)
    for name in NAMES:
        page = client.get("/api/page", query_string={"study": name})
        assert page.json["studies"][0]["name"] == name
    missed = client.get("/api/page", query_string={"study": "a/../b?c#d"})
    assert missed.json["error"].endswith(f"Did you mean {NAMES[3]!r}?")


def test_a_storage_without_sql_and_an_empty_one_are_shown(tmp_path: Path) -> None:
    url = f"journal:///{tmp_path}/study.log"
    storage = open_storage(url)
    optuna.create_study(storage=storage, study_name="odd").optimize(measured, n_trials=3)
    shelf = Shelf(url, storage)
    before = shelf.stamp("odd")
    client = Client(Pages(shelf))
    page = client.get("/api/page", query_string={"study": "odd"})
    assert "Nothing was recorded" in page.json["studies"][0]["notes"][0]
    optuna.load_study(study_name="odd", storage=storage).optimize(measured, n_trials=1)
    assert shelf.stamp("odd") != before
    empty = f"sqlite:///{tmp_path}/empty.db"
    opened = open_storage(empty)
    assert Client(Pages(Shelf(empty, opened))).get("/api/start").json["studies"] == []


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_executes_nothing_of_a_hostile_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=url, study_name=MARKUP)
    study.optimize(hostile, n_trials=12)
    optuna.create_study(storage=url, study_name="empty")
    with served(url) as (_, port), browser(port) as seen:
        seen.open()
        seen.page.locator("#study").select_option(MARKUP)
        seen.page.wait_for_selector("#parameters")
        seen.page.wait_for_selector("article:not([data-drawn])", state="detached")
        assert seen.page.locator("img").count() == 0
        assert seen.page.locator("body script").count() == 0
        seen.picture("hostile")
    assert seen.wrong == []


@pytest.mark.slow
def test_ten_thousand_trials_make_small_figures_that_are_drawn_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=url, study_name="odd")
    runs = [new_run_id() for _ in range(10_000)]
    add_trials(sqlalchemy.create_engine(url), study, runs, seed=0)
    shelf = Shelf(url, open_storage(url, create=False))
    client = Client(Pages(shelf))
    first = shelf.study("odd")
    for name in shipped_layouts():
        page = client.get("/api/page", query_string={"study": "odd", "layout": name}).json
        for panel in page["panels"]:
            asked = {"study": "odd", "layout": name, "index": panel["index"]}
            figure = client.get("/api/figure", query_string=asked)
            assert len(figure.data) < 300_000, panel
            again = client.get(
                "/api/figure", query_string=asked, headers={"If-None-Match": figure.headers["ETag"]}
            )
            assert again.status_code == 304
    assert shelf.study("odd") is first
    study.optimize(measured, n_trials=1)
    assert shelf.study("odd") is not first
