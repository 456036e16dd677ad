"""The figure of exponents and values against the learning rate."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lyapopt.figures import exponent_against_rate
from lyapopt.figures.exponent_against_rate import collect_trials, squashed


def measured() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "params_activation": ["relu", "tanh", "relu", "relu", "tanh"],
            "params_lr": [1.0, 0.1, 0.01, 0.1, 1.0],
            "exponent": [0.5, 0.001, -0.002, np.nan, 0.3],
            "exponent_low": [0.4, np.nan, -0.003, np.nan, 0.2],
            "exponent_high": [0.6, np.nan, -0.001, np.nan, 0.4],
            "value": [np.nan, 0.4, 2.0, 1.0, 0.3],
        }
    )


def test_numbers_are_collected_by_group_and_sorted_by_rate() -> None:
    relu, tanh = collect_trials(measured())
    assert (relu.name, tanh.name) == ("relu", "tanh")
    assert relu.trials["params_lr"].tolist() == [
        0.01,
        1.0,
    ]  # the trial without an exponent is left out
    assert tanh.trials["value"].tolist() == [0.4, 0.3]


def test_each_group_has_an_exponent_panel_and_a_value_panel() -> None:
    figure = exponent_against_rate(measured())
    assert len(figure.data) == 4
    above, below = figure.data[0], figure.data[1]
    assert list(above.y) == list(squashed([-0.002, 0.5]))
    assert list(below.x) == [0.01]
    assert above.marker.color == below.marker.color


def test_intervals_are_drawn_where_there_are_any() -> None:
    above = exponent_against_rate(measured()).data[0]
    top = np.array(above.y) + np.array(above.error_y.array)
    assert np.allclose(top, squashed([-0.001, 0.6]))


def test_values_and_intervals_may_be_missing() -> None:
    trials = measured()[["params_activation", "params_lr", "exponent"]]
    figure = exponent_against_rate(trials)
    assert len(figure.data) == 2
    assert figure.data[0].error_y.array is None
