"""Figures of trials show the numbers that they were given."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from made import long_form, said
from scipy.stats import pearsonr, spearmanr

from lyapopt.figures import (
    activation_table,
    decisions_over_time,
    exponent_against_loss,
    exponent_against_rate,
    parameter_importances,
    signal_correlations,
    trainability_map,
)
from lyapopt.figures.axes import symlog
from lyapopt.figures.decisions_over_time import collect as collect_decisions
from lyapopt.figures.exponent_against_loss import collect as collect_losses
from lyapopt.figures.exponent_against_rate import collect as collect_rates
from lyapopt.figures.parameter_importances import collect as collect_importances
from lyapopt.figures.signal_correlations import collect as collect_signals
from lyapopt.figures.tables import collect_activations
from lyapopt.figures.theme import looks
from lyapopt.figures.trainability_map import collect as collect_map


def measured() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "trial_number": [10, 11, 12, 13, 14],
            "params_activation": ["relu", "tanh", "relu", "relu", "tanh"],
            "params_lr": [1.0, 0.1, 0.01, 0.1, 1.0],
            "exponent": [0.5, 0.001, -0.002, np.nan, 0.3],
            "exponent_low": [0.4, np.nan, -0.003, np.nan, 0.2],
            "exponent_high": [0.6, np.nan, -0.001, np.nan, 0.4],
            "value": [np.nan, 0.4, 2.0, np.nan, 0.3],
            "verdict": ["hot", "neutral", "contracting", "diverged", "hot"],
        }
    )


def test_exponents_lie_over_their_rates_with_intervals_and_their_trials() -> None:
    table = collect_rates(measured())
    assert table["number"].tolist() == [12, 11, 13, 10, 14]
    figure = exponent_against_rate(measured())
    above = {(trace.name, trace.yaxis): trace for trace in figure.data if len(trace.x) > 1}
    relu = above["relu", "y"]
    assert list(relu.x) == [0.01, 1.0]
    assert list(relu.customdata) == [12, 10]
    assert np.allclose(relu.y, symlog([-0.002, 0.5]), atol=1e-5)
    top = np.array(relu.y) + np.array(relu.error_y.array)
    bottom = np.array(relu.y) - np.array(relu.error_y.arrayminus)
    assert np.allclose(top, symlog([-0.001, 0.6]), atol=1e-4)
    assert np.allclose(bottom, symlog([-0.003, 0.4]), atol=1e-4)
    assert above["tanh", "y"].error_y.array[0] is None
    assert list(above["tanh", "y2"].y) == [0.4, 0.3]
    diverged = next(trace for trace in figure.data if trace.customdata == (13,))
    assert diverged.y[0] > symlog(1.0)
    assert "diverged" in diverged.hovertext[0]


def test_a_study_without_activations_or_losses_is_drawn_with_what_it_has() -> None:
    figure = exponent_against_rate(measured()[["params_lr", "exponent"]])
    [trace] = figure.data
    assert (trace.name, trace.error_y.array) == ("all trials", (None,) * 4)
    renamed = measured().rename(columns={"params_lr": "params_learning_rate"})
    assert (
        figure.data[0].x
        == exponent_against_rate(renamed[["params_learning_rate", "exponent"]]).data[0].x
    )
    nowhere = exponent_against_rate(measured().drop(columns="params_lr"))
    assert "No parameter is called a learning rate." in said(nowhere)
    assert "Parameters: activation" in said(nowhere)
    with pytest.raises(KeyError, match="no column 'params_rate'; it has: trial_number"):
        exponent_against_rate(measured(), rate="params_rate")


def test_the_regression_is_of_networks_inside_the_gate() -> None:
    rng = np.random.default_rng(0)
    exponent = rng.normal(size=40)
    start = np.linspace(0, 1, 40)
    loss = np.where((start > 0.25) & (start < 0.75), 2 * exponent + 9, 50 - 5 * exponent)
    frame = pd.DataFrame({"exponent": exponent, "loss": loss + rng.normal(0, 0.1, 40)})
    gated = collect_losses(frame.assign(initial_loss=start))
    inside = frame[(start > 0.25) & (start < 0.75)]
    expected = pearsonr(inside["exponent"], inside["loss"])
    assert gated.inside.index.tolist() == inside.index.tolist()
    assert (gated.r, gated.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert gated.rank == pytest.approx(spearmanr(inside["exponent"], inside["loss"]).statistic)
    slope, intercept = np.polyfit(inside["exponent"], inside["loss"], 1)
    assert (gated.slope, gated.intercept) == pytest.approx((slope, intercept))
    figure = exponent_against_loss(frame.assign(initial_loss=start))
    line = figure.data[-1]
    assert line.name.startswith(f"regression: r = {gated.r:.2f}")
    assert line.y[0] == pytest.approx(intercept + slope * inside["exponent"].min(), rel=1e-4)
    assert "20 of 40 networks" in said(figure)


def test_initial_losses_come_from_the_trajectories_where_trials_have_none() -> None:
    made = pd.DataFrame(
        {
            "trial_number": [3, 4, 5, 6],
            "exponent": [1.0, 2, 3, 4],
            "value": [1.0, 2, 3, 5],
            "initial_loss": [1.0, np.nan, np.nan, 4.0],
        }
    )
    series = pd.concat(
        [
            long_form(4, "loss", [2.0, 0.1]),
            long_form(5, "loss", [3.0, 0.1]),
            long_form(6, "loss", [99.0]),
        ]
    )
    gated = collect_losses(made, trajectories=series)
    assert gated.table["initial_loss"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert gated.gate == (1.75, 3.25)
    assert gated.inside["number"].tolist() == [4, 5]


def test_the_activation_table_has_means_intervals_counts_and_what_was_published() -> None:
    frame = pd.DataFrame(
        {
            "params_activation": ["relu"] * 4 + ["tanh"],
            "exponent": [0.1, 0.2, 0.3, 0.4, 0.05],
            "value": [1.0, 1.0, 2.0, np.nan, np.inf],
            "state": ["complete"] * 3 + ["pruned"] * 2,
            "verdict": ["edge"] * 3 + ["diverged", "edge"],
        }
    )
    tanh, relu = collect_activations(frame, {"relu": (-1.0, 0.25)}).to_dict(orient="records")
    assert (relu["activation"], relu["trials"]) == ("relu", 4)
    assert relu["exponent"] == pytest.approx(0.25)
    half = 1.96 * frame["exponent"][:4].std() / 2
    assert (relu["exponent low"], relu["exponent high"]) == pytest.approx(
        (0.25 - half, 0.25 + half)
    )
    assert (relu["loss"], relu["best loss"]) == (pytest.approx(4 / 3), 1.0)
    assert (relu["diverged"], relu["pruned"]) == (1, 1)
    assert (relu["published exponent"], relu["published loss"]) == (-1.0, 0.25)
    assert math.isnan(tanh["loss"])
    cells = activation_table(frame).data[0].cells["values"]
    assert cells[0] == ["tanh", "relu"]
    assert cells[2][0] == "0.05"
    assert cells[2][1] == f"0.25 [{0.25 - half:.3g}, {0.25 + half:.3g}]"


def test_a_map_is_the_mean_of_near_trials_and_empty_far_from_all() -> None:
    made = pd.DataFrame(
        {"params_lr": [1e-4, 1.0], "params_momentum": [0.0, 0.9], "exponent": [-0.02, 0.5]}
    )
    found = collect_map(made)
    assert (found.x.column, found.y.column) == ("params_lr", "params_momentum")
    assert (found.x.is_log, found.y.is_log) == (True, False)
    assert found.exponents.shape == (40, 40)
    width = 0.25 * 2 ** (-1 / 6)
    x, y = found.x.cells[10], found.y.cells[12]
    weights = [math.exp(-((x - at) ** 2 + (y - at) ** 2) / 2 / width**2) for at in (0, 1)]
    smooth = np.average(symlog([-0.02, 0.5]), weights=weights)
    assert symlog(found.exponents[12, 10]) == pytest.approx(smooth)
    assert np.isnan(found.exponents[39, 0])  # 2.5 widths from every trial
    figure = trainability_map(made)
    assert (figure.data[0].zmid, figure.data[0].zmin) == (0, -figure.data[0].zmax)
    assert list(figure.data[1].customdata) == [0, 1]
    assert list(figure.data[1].y) == [0.0, 0.9]


def test_choices_of_a_map_are_not_mixed_and_seeds_are_no_axis() -> None:
    made = pd.DataFrame(
        {
            "params_lr": [0.1, 0.2, 0.1, 0.2],
            "params_init_seed": [1, 2, 3, 4],
            "params_activation": ["relu", "relu", "tanh", "tanh"],
            "exponent": [0.1, 0.1, -0.1, -0.1],
        }
    )
    found = collect_map(made)
    assert (found.y.column, found.y.choices) == ("params_activation", ("relu", "tanh"))
    assert found.exponents[0] == pytest.approx([0.1] * 40)
    assert found.exponents[1] == pytest.approx([-0.1] * 40)
    alone = trainability_map(made[["params_lr", "params_init_seed", "exponent"]])
    assert "two hyperparameters that are no seeds" in said(alone).replace("<br>", " ")


def test_decisions_are_counted_by_their_rules_with_what_was_spent_and_saved() -> None:
    trials = pd.DataFrame(
        {
            "trial_number": [0, 1, 2, 3, 4, 5],
            "state": ["complete", "pruned", "pruned", "failed", "complete", "running"],
            "verdict": ["edge", "hot", "diverged", None, "edge", None],
            "gradient_evaluations": [600.0, 40.0, 20.0, 10.0, 400.0, 999.0],
            "reason": [None, "hot", "diverged at step 3", None, None, None],
            "finished": pd.to_datetime(["2026-01-01"] * 6)
            + pd.to_timedelta([5, 1, 2, 3, 4, 9], "s"),
        }
    )
    decisions = pd.DataFrame(
        {
            "trial_number": [1, 1],
            "rule": ["Median", "LyapunovPruner"],
            "pruned": [False, True],
            "step": [10, 20],
            "reason": ["", "hot"],
        }
    )
    table = collect_decisions(trials, decisions)
    assert table["number"].tolist() == [1, 2, 3, 4, 0]
    assert table["outcome"].tolist() == [
        "pruned: LyapunovPruner",
        "pruned: diverged",
        "failed",
        "complete",
        "complete",
    ]
    assert table["spent"].tolist() == [40, 60, 70, 470, 1070]
    assert table["saved"].tolist() == [460, 940, 940, 940, 940]  # a full training cost 500
    assert table["step"].tolist()[0] == 20
    figure = decisions_over_time(trials, decisions)
    names = {trace.name: trace for trace in figure.data}
    assert "complete (2)" in names
    assert "the same trials, not measured or pruned (47% saved)" in names
    trials["lyapopt:measuring"] = [100.0, 20.0, None, None, 300.0, None]  # trained alone: 500, 100
    table = collect_decisions(trials, decisions)
    assert table["saved"].tolist() == [260, 540, 540, 240, 140]
    assert names["pruned: LyapunovPruner (1)"].customdata == (1,)
    assert names["pruned: LyapunovPruner (1)"].hovertext[0].endswith("<br>hot")
    assert math.isnan(collect_decisions(trials[1:3])["saved"].iloc[-1])


def test_signals_are_ranked_against_the_final_loss_at_their_cost() -> None:
    rng = np.random.default_rng(1)
    final = rng.normal(size=30)
    exponent = final + rng.normal(size=30)
    made = pd.DataFrame(
        {"trial_number": np.arange(30), "value": final, "exponent": exponent, "params_lr": -final}
    )
    made.loc[29, "value"] = np.nan  # pruned: it has no say
    losses = [long_form(n, "loss", [1.0, *rng.uniform(0.1, 1, 9), final[n] + 5]) for n in range(30)]
    exponents = pd.DataFrame(
        {"trial_number": np.arange(30), "horizon": 20, "neighbours": 16, "estimator": "neighbours"}
    )
    signals = collect_signals(made, pd.concat(losses), exponents).set_index(["signal", "order"])
    alone = signals.loc["learning rate alone", 0]
    assert (alone["cost"], alone["correlation"]) == (0, pytest.approx(-1))
    own = signals.loc["exponent", 20]
    rho = spearmanr(exponent[:29], final[:29]).statistic
    assert (own["cost"], own["trials"]) == (340, 29)
    assert own["correlation"] == pytest.approx(rho)
    half = 1.96 * math.sqrt((1 + rho**2 / 2) / 26)
    assert math.atanh(own["high"]) - math.atanh(own["low"]) == pytest.approx(2 * half)
    at_five = [frame.loc[frame["step"] == 5, "value"].item() for frame in losses[:29]]
    assert signals.loc["training loss", 5]["correlation"] == pytest.approx(
        spearmanr(at_five, final[:29]).statistic
    )
    assert signals.loc["training loss", 5]["cost"] == 6
    assert 10 not in signals.loc["training loss"].index  # more than half of a training
    figure = signal_correlations(made, pd.concat(losses), exponents)
    assert "29 trials trained in full" in said(figure)


def test_the_parameter_that_matters_has_all_the_importance_and_noise_explains_nothing() -> None:
    rng = np.random.default_rng(0)
    rate, width = 10 ** rng.uniform(-4, 0, 120), rng.integers(8, 64, 120)
    made = pd.DataFrame(
        {
            "params_lr": rate,
            "params_width": width,
            "params_act": ["a", "b"] * 60,
            "value": np.log(rate) ** 3,
            "exponent": rng.normal(size=120),
            "params_fixed": 1,
        }
    )
    rows = collect_importances(made).set_index(["target", "parameter"])
    loss = rows.loc["final loss"]
    assert loss["importance"].sum() == pytest.approx(1)
    assert loss.loc["params_lr", "importance"] > 0.95
    assert loss["explained"].iloc[0] > 0.95
    assert rows.loc["exponent"]["explained"].iloc[0] < 0.1
    assert "params_fixed" not in loss.index
    figure = parameter_importances(made)
    assert figure.data[0].y[0] == "learning rate"
    assert [trace.name.split(" (")[0] for trace in figure.data] == ["final loss", "exponent"]
    assert "needs 10 trials" in said(parameter_importances(made[:9]))


def test_parameters_that_tell_nothing_are_said_to_and_so_is_compute_that_nobody_counted() -> None:
    draws = np.random.default_rng(2)
    made = pd.DataFrame({"params_a": draws.permutation(12), "params_b": "same"})
    made = made.assign(state="complete", value=draws.permutation(12).astype(float))
    assert not collect_importances(made)["importance"].any()
    figure = parameter_importances(made)
    assert not figure.data
    assert "In 12 trials no hyperparameter tells anything" in said(figure)
    assert "no gradient evaluations were recorded" in said(decisions_over_time(made))
    counted = made.assign(gradient_evaluations=3.0)
    assert "recorded" not in said(decisions_over_time(counted))


def test_an_activation_has_the_same_colour_in_every_figure() -> None:
    made = measured().assign(initial_loss=1.0, exponent=[0.5, 0.1, -0.1, 0.2, 0.3], value=1.0)
    for figure in (exponent_against_rate(made), exponent_against_loss(made)):
        for trace in figure.data:
            if trace.name in ("relu", "tanh"):
                assert trace.marker.color == looks(["relu", "tanh"])[trace.name].colour
