"""`lyapopt.load`: a study as tables, arrays and figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import worker_study as shared

import lyapopt
from lyapopt import figures
from lyapopt.errors import UserError
from lyapopt.study.analysis.data import StudyData
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    """A small study with two activations."""
    folder = tmp_path_factory.mktemp("study")
    path = shared.write(folder, f"sqlite:///{folder}/study.db", n_trials=6)
    text = path.read_text().replace("  init_seed:", "  activation: [relu, tanh]\n  init_seed:")
    path.write_text(text)
    run_study(load_study_file(path), settings=shared.QUICK)
    return lyapopt.load(folder / "study.db")


def test_tables_have_a_row_for_each_trial(data: StudyData) -> None:
    assert data.trials["trial_number"].tolist() == list(range(6))
    assert data.runs["trial_number"].tolist() == list(range(6))
    assert set(data.exponents["trial_number"]) == set(range(6))
    assert {"params_lr", "params_activation", "exponent", "verdict"} <= set(data.trials)


def test_a_series_comes_as_rows_and_as_an_array(data: StudyData) -> None:
    rows = data.trajectories("loss", trial=2)
    assert rows["step"].tolist() == list(range(len(rows)))
    assert np.array_equal(rows["value"], data.array("loss", trial=2))
    assert data.array("weights", trial=2).ndim == 2
    with pytest.raises(UserError, match="no series 'los'; it has: loss"):
        data.array("los", trial=2)


def test_figures_are_drawn_from_the_tables_of_the_study(data: StudyData) -> None:
    by_hand = figures.exponent_against_rate(data.trials, value="loss")
    assert data.figures.exponent_against_rate(value="loss").to_dict() == by_hand.to_dict()
    one = data.trials[data.trials["params_activation"] == "relu"]
    assert len(data.figures.exponent_against_rate(trials=one).data) == 2


def test_every_figure_there_is_can_be_drawn_by_its_name(
    data: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, pd.DataFrame] = {}

    def all_tables(
        exponents: pd.DataFrame, trajectories: pd.DataFrame, runs: pd.DataFrame, title: str
    ) -> go.Figure:
        given.update(exponents=exponents, trajectories=trajectories, runs=runs)
        return go.Figure(layout={"title": {"text": title}})

    monkeypatch.setattr(figures, "all_tables", all_tables, raising=False)
    monkeypatch.setattr(figures, "__all__", [*figures.__all__, "all_tables"])
    assert data.figures.all_tables(title="new").layout.title.text == "new"
    assert given["exponents"] is data.exponents
    assert set(given["trajectories"]["name"]) == set(data.series_names())
    assert "all_tables" in dir(data.figures)


def test_a_mistyped_figure_is_answered_with_the_nearest_name(data: StudyData) -> None:
    with pytest.raises(AttributeError, match="did you mean 'exponent_against_rate'"):
        data.figures.exponent_against_rates()


def test_studies_are_compared_side_by_side(data: StudyData, tmp_path: Path) -> None:
    table = lyapopt.compare([data, data])
    assert table["study_name"].tolist() == ["shared", "shared"]
    assert table["best"].tolist() == [data.trials["value"].min()] * 2
