"""Every figure of every study is drawn, or says what is missing, and none is large."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made import SERIES, Made, long_form, said, whole_study

from lyapopt.errors import UserError
from lyapopt.figures import FIGURES
from lyapopt.figures.registry import draw, figure_spec

HOSTILE = "<img src=x onerror=alert(1)>%{x}$\\frac{1}{2}$\u202e" + "名" * 200


def without(made: Made, *columns: str) -> Made:
    return Made(made.trials.drop(columns=list(columns)), made.exponents)


def changed(made: Made, **columns: Any) -> Made:
    return Made(made.trials.assign(**columns), made.exponents, made.decisions, made.all_series)


def hostile() -> Made:
    made = whole_study(12)
    trials = made.trials.assign(params_activation=HOSTILE, verdict=HOSTILE, reason=HOSTILE)
    trials = trials.rename(columns={"params_init_seed": f"params_{HOSTILE}"})
    decisions = made.decisions.assign(rule=HOSTILE, reason=HOSTILE)
    details = [{"verdict": HOSTILE, "rate": 0.1, "target": 0.1, "is chosen": 1}] * 12
    exponents = made.exponents.assign(name=f"steering {HOSTILE}=0.1", details=details)
    return Made(trials, exponents, decisions, made.all_series, {"hot": 0.1})


STRANGE = {
    "no trials": Made(pd.DataFrame()),
    "no rows": Made(whole_study(3).trials.iloc[:0]),
    "one trial": whole_study(1),
    "two trials": whole_study(2),
    "all pruned": changed(whole_study(9), state="pruned", value=np.nan),
    "all failed": without(changed(whole_study(9), state="failed", value=np.nan), "exponent"),
    "all running": changed(whole_study(9), state="running", value=np.nan, exponent=np.nan),
    "all NaN": changed(whole_study(9), exponent=np.nan, value=np.nan, verdict="diverged"),
    "all infinite": changed(whole_study(9), exponent=-np.inf, value=np.inf),
    "huge": changed(whole_study(9), value=[4e47, 1e-300, 0.0, -1e300, 1.0, np.inf, 2, 3, 4]),
    "one value": changed(whole_study(9), exponent=0.0, value=1.0, initial_loss=1.0),
    "one activation": changed(whole_study(9), params_activation="relu"),
    "many activations": changed(whole_study(9), params_activation=[f"a{i}" for i in range(9)]),
    "no activation": without(whole_study(9), "params_activation"),
    "no learning rate": without(whole_study(9), "params_lr"),
    "rates of text": changed(whole_study(9), params_lr="fast"),
    "no parameters": without(whole_study(9), "params_lr", "params_activation", "params_init_seed"),
    "two objectives": Made(
        whole_study(9).trials.rename(columns={"value": "value_0"}).assign(value_1=1.0)
    ),
    "40 parameters": whole_study(12, parameters=40),
    "of plain Optuna": Made(
        pd.DataFrame(
            {
                "study_name": "plain",
                "trial_number": [0, 1, 2],
                "state": ["complete", "failed", "waiting"],
                "value": [1.0, None, None],
                "params_x": [0.1, None, True],
                "exponent": ["high", {"a": 1}, [1]],
                "verdict": [3, None, ["?"]],
                "started": pd.NaT,
                "finished": pd.NaT,
                "reason": None,
            }
        )
    ),
    "odd types": Made(
        whole_study(9).trials.assign(
            params_activation=pd.Categorical(["relu", None, "tanh"] * 3),
            params_lr=[Decimal("0.1"), 10**400, "0.2"] * 3,
            params_flag=[True, False, None] * 3,
            params_list=[[1, 2]] * 9,
            exponent=[0.1 + 1j] * 9,
            value=pd.to_timedelta(range(9), "s"),
            initial_loss=pd.Timestamp("2026-01-01"),
            trial_number=[1e300, 2**40, -1] * 3,
            finished=["yesterday", None, "now"] * 3,
        )
    ),
    "columns twice": Made(pd.concat([whole_study(9).trials, whole_study(9).trials], axis=1)),
    "two studies in one table": Made(
        pd.concat([whole_study(9).trials, whole_study(9).trials]),
        all_series=whole_study(9).all_series,
    ),
    "missing values": Made(
        whole_study(9).trials.astype({"exponent": "Float64"}).assign(params_lr=pd.NA)
    ),
    "empty series": Made(whole_study(3).trials, all_series=pd.DataFrame(columns=SERIES)),
    "series of NaN": Made(
        whole_study(2).trials,
        whole_study(2).exponents,
        all_series=pd.concat(
            long_form(0, name, np.full((5, 4), fill))
            for name, fill in (
                ("loss", np.nan),
                ("separation", np.inf),
                ("weights", np.nan),
                ("spectrum", np.nan),
            )
        ),
    ),
    "series of one step": Made(
        whole_study(2).trials,
        whole_study(2).exponents,
        all_series=pd.concat(
            long_form(0, name, [[1.0, 2.0]])
            for name in ("loss", "separation", "weights", "neighbours", "spectrum")
        ),
    ),
    "hostile": hostile(),
}


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


@pytest.mark.parametrize("study", STRANGE)
def test_every_figure_is_drawn_or_says_what_is_missing(study: str) -> None:
    made = STRANGE[study]
    for name, spec in FIGURES.items():
        figure = draw(name, made)
        assert figure.layout.title.text, name
        text = figure.to_json()
        assert "<img" not in text, name
        assert "&amp;lt;" not in text, name  # what is escaped twice is not readable
        json.loads(text, parse_constant=refuse)
        drawn = any(trace.type == "table" or trace.x or trace.y for trace in figure.data)
        assert drawn or len(figure.layout.annotations) == 1, (name, said(figure))
        if study in ("one trial", "two trials") and spec.can_draw(made):
            assert drawn or "needs" in said(figure), (name, said(figure))


@pytest.mark.parametrize("names", ["short", "of another alphabet"])
def test_no_figure_is_large_however_many_trials_there_are(names: str) -> None:
    made = whole_study(10_000, 0 if names == "short" else 40)
    if names == "of another alphabet":
        made.trials.columns = made.trials.columns.str.replace("_rather_", "参数" * 8)
        made.trials["params_activation"] += "激活" * 10
        made.decisions["reason"] = made.trials["reason"] = "原因" * 60
    long = np.random.default_rng(0).normal(size=(4000, 64)).cumsum(0)
    for name in ("loss", "separation", "weights", "neighbours", "spectrum"):
        made.all_series = pd.concat([made.all_series, long_form(0, name, long)])
    steered = made.exponents.assign(
        name="steering lr=0.1", details=[{"rate": 0.1, "target": 0.1}] * 10_000
    )
    made.exponents = pd.concat([made.exponents, steered])
    sizes = {
        name: len(draw(name, made, **({"trial": 0} if spec.of_trial else {})).to_json())
        for name, spec in FIGURES.items()
    }
    assert max(sizes.values()) < 300_000, sizes


def test_a_point_says_which_trial_it_is_in_every_figure_that_has_trials() -> None:
    made = whole_study(60)
    numbers = set(made.trials["trial_number"])
    for name in (
        "exponent_against_rate",
        "exponent_against_loss",
        "trainability_map",
        "decisions_over_time",
        "loss_trajectories",
    ):
        found: set[int] = set()
        for trace in draw(name, made).data:
            if trace.type == "scatter" and trace.customdata and trace.mode in ("markers", "lines"):
                found |= {each for each in trace.customdata if isinstance(each, int)}
        assert len(found) >= 20, name
        assert found <= numbers, name


def test_figures_are_known_by_name_with_their_tables_and_arguments() -> None:
    assert len(FIGURES) == 14
    for name, spec in FIGURES.items():
        assert spec.name == name
        assert 10 < len(spec.description) < 100
        assert "title" in spec.arguments
    spec = figure_spec("steering_path")
    assert (spec.tables, spec.of_trial) == (("exponents",), True)
    assert spec.arguments["trial"] is None
    assert figure_spec("trainability_map").arguments.keys() == {"x", "y", "title"}


def test_a_mistyped_figure_or_argument_is_answered_with_the_nearest_name() -> None:
    made = whole_study(3)
    with pytest.raises(UserError, match="did you mean 'separations'"):
        draw("separation", made)
    with pytest.raises(
        UserError, match="separations has no argument 'trail'; did you mean 'trial'"
    ):
        draw("separations", made, trail=1)


def test_only_what_a_study_has_numbers_for_can_be_drawn() -> None:
    made = whole_study(3)
    assert {n for n, spec in FIGURES.items() if not spec.can_draw(made)} == {
        "steering_path",
        "spectrum_over_time",
    }
    bare = Made(made.trials)
    assert {n for n, spec in FIGURES.items() if not spec.can_draw(bare)} == {
        "steering_path",
        "spectrum_over_time",
        "separations",
        "weight_trajectories",
        "loss_trajectories",
        "trial_losses",
    }


def test_a_table_that_is_given_takes_the_place_of_the_study_s_own() -> None:
    made = whole_study(30)
    one = made.trials[made.trials["params_activation"] == "relu"]
    figure = draw("exponent_against_rate", made, trials=one)
    assert {trace.name for trace in figure.data} == {"relu"}
    assert draw("separations", made, trial=5).layout.title.text.endswith("trial 5")
