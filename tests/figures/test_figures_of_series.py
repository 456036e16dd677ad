"""Figures of series, step by step, show the numbers that they were given."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from made import long_form, said

from lyapopt.figures import (
    loss_trajectories,
    separations,
    spectrum_over_time,
    steering_path,
    trial_losses,
    weight_trajectories,
)
from lyapopt.figures.axes import symlog
from lyapopt.figures.loss_trajectories import chosen
from lyapopt.figures.loss_trajectories import collect as collect_losses
from lyapopt.figures.separations import collect as collect_separations
from lyapopt.figures.steering_path import collect as collect_path
from lyapopt.figures.theme import looks
from lyapopt.figures.weight_trajectories import collect as collect_weights


def test_separations_have_the_growth_of_each_segment_and_their_rescalings() -> None:
    logs = np.array([[0, 0], [1, 3], [2, 6], [1, 5], [0, 4], [0.5, 4.5]], dtype=float) - 10
    rows = pd.concat([long_form(4, "loss", np.ones(6)), long_form(5, "separation", logs)])
    exponents = pd.DataFrame(
        {
            "trial_number": [4, 5, 5],
            "value": [9.0, 0.5, 9.0],
            "low": [9.0, 0.4, 9.0],
            "high": [9.0, np.nan, 9.0],
            "segment": pd.array([1, 2, 1], dtype="Int64"),
        }
    )
    found = collect_separations(rows, exponents)
    assert found is not None
    assert (found.trial, found.segment, found.exponent, found.low) == (5, 2, 0.5, 0.4)
    assert math.isnan(found.high)
    assert found.logs.tolist() == logs.tolist()
    assert found.mean.tolist() == [-10, -8, -6, -7, -8, -7.5]
    assert found.rescalings.tolist() == [2, 4]
    assert found.ends.tolist() == [2, 4, 5]
    assert found.growth.tolist() == [2, -1, 0.5]
    figure = separations(rows, exponents)
    lines = {trace.name: trace for trace in figure.data}
    assert lines["mean of 2 neighbours"].y == (-10, -8, -6, -7, -8, -7.5)
    assert lines["exponent 0.5 nats per step"].y == (-10, -7.5)
    assert lines["rescaled (every 2 steps)"].x == (2, 2, None, 4, 4, None)
    growth = lines["growth of a segment"]
    assert growth.x == (0, 2, 4, 5)
    assert growth.y == pytest.approx(symlog([2, -1, 0.5, 0.5]), abs=1e-5)
    assert said(figure).startswith("Separation of the neighbours: trial 5")


def test_a_divergence_ends_the_separations_and_an_absent_series_is_said() -> None:
    rows = long_form(1, "separation", [-10.0, 0.0, np.inf, np.nan])
    found = collect_separations(rows)
    assert found is not None
    assert found.growth[0] == 10
    assert np.isnan(found.growth[1:]).all()
    assert separations(rows).data[0].y == (-10, 0, None, None)
    assert "No separations of trial 7 were recorded" in said(separations(rows, trial=7))


def test_losses_are_drawn_a_line_a_trial_with_the_best_on_top() -> None:
    trials = pd.DataFrame(
        {
            "trial_number": [3, 8, 9],
            "value": [0.2, 0.5, np.nan],
            "state": ["complete", "complete", "pruned"],
            "params_activation": ["relu", "tanh", "relu"],
        }
    )
    rows = pd.concat(
        [
            long_form(3, "loss", [1.0, 0.5, 0.2]),
            long_form(8, "loss", [1.0, 0.8, 0.5], [0, 10, 20]),
            long_form(9, "loss", [1.0, np.inf]),
            long_form(9, "validation_loss", [7.0]),
        ]
    )
    lines = collect_losses(rows, trials)
    assert [(line.number, line.group, line.is_best) for line in lines] == [
        (8, "tanh", False),
        (9, "relu", False),
        (3, "relu", True),
    ]
    figure = loss_trajectories(rows, trials)
    assert figure.data[0].x == (0, 10, 20)
    assert figure.data[0].y == (1.0, 0.8, 0.5)
    assert figure.data[0].customdata == (8, 8, 8)
    assert figure.data[0].hovertext.startswith("<b>trial 8</b>, complete")
    ends = figure.data[-1]
    assert (ends.customdata, ends.x) == ((8, 9, 3), (20, 1, 2))
    assert ends.marker.symbol == (looks(["tanh"])["tanh"].symbol, "triangle-up-open", "circle")
    assert loss_trajectories(rows, series="validation_loss").data[0].y == (7.0,)
    assert "No metric was recorded" in said(loss_trajectories(rows, series="metric"))


def test_a_loss_that_falls_by_thirty_decades_is_drawn_from_its_start() -> None:
    losses = [0.25, 1e-3, *np.geomspace(1e-12, 1e-32, 40).tolist()]
    figure = trial_losses(pd.DataFrame({"step": range(42), "value": losses}))

    drawn = figure.data[0].y
    assert drawn[:3] == (0.25, 1e-3, 1e-12)
    low, high = figure.layout.yaxis.range
    assert low < math.log10(min(drawn))
    assert high > math.log10(0.25)
    middle = sorted(losses)[20]
    assert min(drawn) == pytest.approx(middle / 1e6)
    assert said(figure) == f"Loss | below {middle / 1e6:.2g} drawn at the edge"


def test_the_trials_that_are_read_are_the_best_and_others_evenly_spread() -> None:
    trials = pd.DataFrame(
        {"trial_number": np.arange(1000), "value": np.arange(1000.0)[::-1], "state": "complete"}
    )
    assert chosen(trials, 6) == [0, 498, 996, 997, 998, 999]
    trials.attrs["directions"] = ("maximize",)
    assert chosen(trials, 6)[:3] == [0, 1, 2]


def test_weights_are_in_the_plane_of_their_principal_components() -> None:
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    flat = np.zeros((30, 5))
    flat[:, 0], flat[:, 1] = np.linspace(-10, 10, 30), np.sin(np.arange(30.0))
    weights = flat @ turn + 7.0
    offsets = 1e-6 * rng.normal(size=(21, 2, 5))
    rows = pd.concat(
        [
            long_form(2, "weights", weights),
            long_form(2, "neighbours", offsets.reshape(21, -1)),
            long_form(2, "separation", np.log(np.linalg.norm(offsets, axis=2))),
        ]
    )
    path = collect_weights(rows)
    assert path is not None
    centred = weights - weights.mean(0)
    values, vectors = np.linalg.eigh(np.cov(centred.T))
    axes = vectors[:, [-1, -2]]
    assert np.abs(path.plane) == pytest.approx(np.abs(centred @ axes))
    assert path.shares == pytest.approx(values[[-1, -2]] / values.sum())
    for number in range(2):
        assert np.abs(path.neighbours[number]) == pytest.approx(np.abs(offsets[:, number] @ axes))
    norms = np.linalg.norm(weights, axis=1)[:21]
    assert path.separations[:, 1] == pytest.approx(np.linalg.norm(offsets[:, 1], axis=1) / norms)
    extent = np.ptp(path.plane, axis=0).max()
    largest = max(np.linalg.norm(each, axis=1).max() for each in path.neighbours)
    assert path.magnification == 10 ** math.floor(math.log10(0.15 * extent / largest))
    figure = weight_trajectories(rows)
    drawn = np.stack([figure.data[0].x, figure.data[0].y], 1)
    expected = path.plane[:21] + path.magnification * path.neighbours[0]
    assert drawn == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert f"{path.magnification:,.0f} times as far away" in said(figure)


def test_weights_without_neighbours_are_drawn_with_what_there_is() -> None:
    rows = long_form(2, "weights", [[0.0, 0.0], [3.0, 4.0], [np.nan, 0.0], [6.0, 8.0]])
    path = collect_weights(rows)
    assert path is not None
    assert path.steps.tolist() == [0, 1, 3]
    assert path.plane[:, 0] == pytest.approx([-5, 0, 5])
    assert "record: {neighbours: 4}" in said(weight_trajectories(rows)).replace("<br>", " ")
    assert "at two steps or more" in said(weight_trajectories(rows, trial=9)).replace("<br>", " ")


def test_a_spectrum_is_drawn_an_exponent_a_line_with_where_it_came_to() -> None:
    rows = long_form(0, "spectrum", [[0.9, -0.2], [0.8, -np.inf]], [10, 20])
    first, second = spectrum_over_time(rows).data
    assert (first.name, first.x, first.customdata) == ("λ1 = 0.8", (10, 20), (0.9, 0.8))
    assert first.y == pytest.approx(symlog([0.9, 0.8]), abs=1e-5)
    assert second.y[1] == pytest.approx(symlog(-10.0), abs=1e-5)
    many = long_form(0, "spectrum", np.linspace(1, -1, 200)[None, :].repeat(1000, 0))
    figure = spectrum_over_time(many)
    assert len(figure.data) == 24
    assert "24 of 200" in said(figure)


def probed() -> pd.DataFrame:
    """Probes of trial 1 among other exponents, as a study has them."""
    rows = [
        ("neighbours@20", 0.02, {"verdict": "edge"}),
        ("steering lr=0.1", -0.01, {"rate": 0.1, "verdict": "contracting", "round": 1}),
        ("steering lr=0.3", 0.02, {"rate": 0.3, "verdict": "edge", "round": 2, "is chosen": 1}),
        ("steering lr=1.0", 0.2, {"rate": 1.0, "verdict": "hot", "round": 1}),
        ("steering lr=9.0", np.nan, {"rate": 9.0, "verdict": "diverged", "round": 1}),
    ]
    return pd.DataFrame(
        [
            {"trial_number": 1, "name": name, "value": value, "details": {**details, "target": 0.1}}
            for name, value, details in rows
        ]
        + [{"trial_number": 0, "name": "neighbours@20", "value": 0.0, "details": {}}]
    )


def test_a_steered_trial_shows_its_probes_its_bracket_and_its_choice_where_they_are() -> None:
    path = collect_path(probed())
    assert path is not None
    assert path.probes["rate"].tolist() == [0.1, 0.3, 1.0, 9.0]
    assert path.probes["round"].tolist() == [1, 2, 1, 1]
    assert (path.target, path.chosen, path.bracket) == (0.1, 0.3, (0.3, 1.0))
    assert (path.name, path.trial) == ("lr", 1)
    figure = steering_path(probed())
    lines = {trace.name: trace for trace in figure.data}
    probes = lines["probes, numbered by round"]
    assert (probes.x, probes.text) == ((0.1, 0.3, 1.0), ("1", "2", "1"))
    assert probes.y == pytest.approx(symlog([-0.01, 0.02, 0.2]), abs=1e-5)
    assert lines["chosen: 0.3"].x == (0.3, 0.3)
    assert lines["target 0.1 nats per step"].y == pytest.approx(symlog([0.1, 0.1]), abs=1e-5)
    assert lines["diverged"].x == (9.0,)
    bracket = figure.layout.shapes[0]
    assert (bracket.x0, bracket.x1) == (0.3, 1.0)
    # A label of the layout sits at the logarithm of its place: nothing that has a rate is one.
    assert all(note.xref == "x domain" for note in figure.layout.annotations)
    assert "Trial 0 was not steered" in said(steering_path(probed(), trial=0))


def test_a_curve_of_ones_own_has_a_bracket_only_where_the_target_is_crossed() -> None:
    curve = pd.DataFrame({"rate": [1.0, 0.1], "exponent": [0.05, 0.01], "low": [0.04, np.nan]})
    assert collect_path(curve, target=0.02).bracket == (0.1, 1.0)
    assert collect_path(curve, target=0.2).bracket is None
    assert collect_path(curve, target=0.001).bracket is None
    assert collect_path(curve).bracket is None
