"""`lyapopt.load`: a study as tables, arrays and figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
import worker_study as shared

import lyapopt
from lyapopt import figures
from lyapopt.errors import UserError
from lyapopt.study.analysis.data import StudyData
from lyapopt.study.analysis.overview import StoredStudy
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
    rows = data.trajectories(2, "loss")
    assert rows["step"].tolist() == list(range(len(rows)))
    assert np.array_equal(rows["value"], data.array("loss", trial=2))
    assert data.array("weights", trial=2).ndim == 2
    assert set(data.trajectories(2)["name"]) == set(data.series_names())
    assert set(data.trajectories([0, np.int64(3)], ["loss"])["trial_number"]) == {0, 3}
    assert set(data.trajectories(name="loss")["trial_number"]) == set(range(6))


def test_a_trial_or_a_series_that_is_not_there_is_said_with_those_that_are(data: StudyData) -> None:
    for ask in (data.trajectories, lambda n: data.array("loss", n)):
        with pytest.raises(UserError, match="study 'shared' has no trial 83; it has: 0 to 5"):
            ask(83)
        with pytest.raises(UserError, match=r"trial must be .*, not 'loss'"):
            ask("loss")
        with pytest.raises(UserError, match=r"trial must be .*, not True"):
            ask(True)
    with pytest.raises(UserError, match="no series 'los'; it has: loss"):
        data.array("los", trial=2)
    with pytest.raises(UserError, match="no series 'los'; it has: loss"):
        data.trajectories(2, "los")
    with pytest.raises(UserError, match=r"name must be .*, not 3"):
        data.trajectories(2, 3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"name must be .*, not 3"):
        data.array(3, 2)  # type: ignore[arg-type]


def test_figures_are_drawn_from_the_tables_of_the_study(data: StudyData) -> None:
    by_hand = figures.exponent_against_rate(data.trials, limits=data.limits)
    assert data.figures.exponent_against_rate().to_dict() == by_hand.to_dict()
    one = data.trials[data.trials["params_activation"] == "relu"]
    assert {trace.name for trace in data.figures.exponent_against_rate(trials=one).data} == {"relu"}
    separations = data.figures.separations(trial=2)
    mean = data.array("separation", 2).mean(1)
    assert np.allclose(separations.data[-3].y, mean, rtol=1e-5)
    losses = data.figures.loss_trajectories()
    assert set(losses.data[-1].customdata) == set(range(6))


def test_the_limits_of_verdicts_are_those_that_the_study_was_run_with(data: StudyData) -> None:
    [rule] = {tuple(each["probe"]["rule"].items()) for each in data.runs["settings"]}
    assert data.limits == dict(rule)


def test_all_figures_that_are_listed_draw_and_the_others_say_what_is_missing(
    data: StudyData,
) -> None:
    listed = {name for name in dir(data.figures) if not name.startswith("_")}
    assert set(figures.FIGURES) - listed == {"steering_path", "spectrum_over_time"}
    too_few = {"parameter_importances", "signal_correlations"}  # trials, which they say
    for name in figures.FIGURES:
        figure = getattr(data.figures, name)()
        assert bool(figure.data) == (name in listed - too_few)
    with pytest.raises(AttributeError, match="did you mean 'exponent_against_rate'"):
        data.figures.exponent_against_rates()


def test_a_study_of_plain_optuna_has_figures_of_what_optuna_keeps(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/plain.db"
    study = optuna.create_study(storage=url, directions=["minimize", "maximize"])
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 1.0), n_trials=2)
    plain = lyapopt.load(url)
    assert "separations" not in dir(plain.figures)
    assert "decisions_over_time" in dir(plain.figures)
    for name in figures.FIGURES:
        figure = getattr(plain.figures, name)()
        assert figure.data or figure.layout.annotations
    assert (plain.limits, plain.is_recorded) == ({}, False)


def test_a_notebook_shows_where_a_study_stands_without_its_markup(data: StudyData) -> None:
    table = data._repr_html_()
    assert "<b>Study shared: 6 trials</b>" in table
    best = int(data.trials.loc[data.trials["value"].idxmin(), "trial_number"])
    assert f"<td>best</td><td>trial {best}: " in table
    assert "figures: activation_table, best_so_far, decisions_over_time" in table
    study = StoredStudy("<script>alert(1)</script>", ("minimize",), [])
    assert "&lt;script&gt;" in StudyData(study, "journal:///none")._repr_html_()
    assert "<script>" not in StudyData(study, "journal:///none")._repr_html_()


def test_studies_are_compared_side_by_side(data: StudyData, tmp_path: Path) -> None:
    table = lyapopt.compare([data, data])
    assert table["study_name"].tolist() == ["shared", "shared"]
    assert table["best"].tolist() == [data.trials["value"].min()] * 2
