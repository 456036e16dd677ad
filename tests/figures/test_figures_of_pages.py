"""Numbers of the figures that pages brought along, against studies made by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from made import long_form, said

from lyapopt.figures import best_so_far as drawn_best
from lyapopt.figures import separations
from lyapopt.figures import trial_losses as drawn_losses
from lyapopt.figures.best_so_far import collect as best
from lyapopt.figures.trial_losses import collect as losses


def test_the_best_so_far_of_each_group_after_the_compute_of_all_its_trials() -> None:
    trials = pd.DataFrame(
        {
            "trial_number": [0, 1, 2, 0, 1],
            "study_name": ["a", "a", "a", "b", "b"],
            "state": ["complete", "pruned", "complete", "complete", "running"],
            "value": [3.0, math.nan, 2.0, 5.0, 1.0],
            "gradient_evaluations": [10.0, 5.0, 10.0, 7.0, 9.0],
            "finished": pd.to_datetime([30, 10, 20, 5, None], unit="s"),
        }
    )
    found = best(trials, "study_name")
    rows = found[["group", "number", "spent", "value", "total"]].to_numpy().tolist()
    assert rows == [["b", 0, 7.0, 5.0, 7.0], ["a", 2, 15.0, 2.0, 25.0]]
    trials.attrs["directions"] = ("maximize",)
    found = best(trials, "study_name")
    assert found["value"].tolist() == [5.0, 2.0, 3.0]
    lines = [trace for trace in drawn_best(trials, "study_name").data if trace.mode == "lines"]
    assert [line.x[-1] for line in lines] == [25.0, 7.0]


def test_without_costs_the_best_so_far_is_drawn_against_trials() -> None:
    figure = drawn_best(pd.DataFrame({"value": [3.0, 5.0, 2.0]}))
    assert figure.data[0].x == (1.0, 3.0)
    assert figure.layout.xaxis.title.text == "trials"
    assert "No trial has a value" in said(drawn_best(pd.DataFrame({"value": [math.nan]})))


def test_losses_of_one_trial_with_the_decision_that_ended_it() -> None:
    series = pd.concat(
        [
            long_form(3, "loss", [2.0, 1.0, math.inf]),
            long_form(3, "validation_loss", [1.5], [2]),
            long_form(4, "loss", [9.0]),
        ]
    )
    decisions = pd.DataFrame(
        {
            "trial_number": [3, 3, 4],
            "rule": ["Hot", "Median", "Hot"],
            "pruned": [False, True, True],
            "step": [1, 2, 0],
        }
    )
    found = losses(series, decisions, trial=3)
    assert found is not None
    assert found.lines["loss"][1].tolist() == [2.0, 1.0, math.inf]
    assert found.lines["validation_loss"][0].tolist() == [2]
    assert found.decisions == ((2, "Median"),)
    figure = drawn_losses(series, decisions, trial=3)
    assert [trace.name for trace in figure.data] == [
        "training loss", "validation loss", "pruned by Median",
    ]  # fmt: skip
    assert "not finite from step 2" in said(figure)
    assert np.isfinite(np.array(figure.data[0].y, dtype=float)).all()
    assert losses(series, trial=8) is None


def test_an_exponent_is_drawn_over_the_steps_that_it_was_measured_over() -> None:
    logs = [0.0, -1.0, -2.0, -1.5, -1.0]
    measured = {"trial_number": [3], "value": [0.5], "low": [math.nan], "high": [math.nan]}
    rows = pd.DataFrame({**measured, "estimand": ["growth rate over steps 3 to 4 of this run"]})
    figure = separations(long_form(3, "separation", logs), rows, trial=3)
    [line] = [trace for trace in figure.data if (trace.name or "").startswith("exponent")]
    assert (line.x, line.y) == ((2, 4), (-2.0, -1.0))
    whole = separations(long_form(3, "separation", logs), rows.drop(columns="estimand"), trial=3)
    [line] = [trace for trace in whole.data if (trace.name or "").startswith("exponent")]
    assert (line.x, line.y) == ((0, 4), (0.0, 2.0))
