"""Studies made by hand, as the tables that figures are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import plotly.graph_objects as go

SERIES = ["trial_number", "name", "step", "component", "value"]


@dataclass
class Made:
    """A study in memory."""

    trials: pd.DataFrame
    exponents: pd.DataFrame = field(default_factory=pd.DataFrame)
    decisions: pd.DataFrame = field(default_factory=pd.DataFrame)
    all_series: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SERIES))
    limits: Mapping[str, float] = field(default_factory=dict)

    def series(self, names: Sequence[str], trials: Sequence[int]) -> pd.DataFrame:
        rows = self.all_series
        return rows[rows["name"].isin(list(names)) & rows["trial_number"].isin(list(trials))]

    def series_names(self) -> Sequence[str]:
        return sorted(self.all_series["name"].unique())


def long_form(number: int, name: str, values: object, steps: Sequence[int] | None = None) -> (
    pd.DataFrame
):  # fmt: skip
    """A series `(T, components)` of one trial, as a row a number."""
    array = np.asarray(values, dtype=np.float64)
    array = array.reshape(len(array), -1)
    at = np.arange(len(array)) if steps is None else np.asarray(steps)
    return pd.DataFrame(
        {
            "trial_number": number,
            "name": name,
            "step": np.repeat(at, array.shape[1]),
            "component": np.tile(np.arange(array.shape[1]), len(array)),
            "value": array.reshape(-1),
        }
    )


def whole_study(count: int, parameters: int = 0, seed: int = 0) -> Made:
    """A study with everything in it: five activations, three states, series of some trials."""
    draws = np.random.default_rng(seed)
    rate = 10 ** draws.uniform(-4, 1, count)
    exponent = np.where(rate < 5, 0.05 * rate * draws.normal(1, 0.2, count), np.nan)
    state = np.where(np.arange(count) % 3 == 2, "pruned", "complete")
    made = pd.DataFrame(
        {
            "trial_number": np.arange(count),
            "state": state,
            "value": np.where(state == "complete", draws.lognormal(0, 1, count), np.nan),
            "params_lr": rate,
            "params_activation": draws.choice(["relu", "tanh", "gelu", "sigmoid", "linear"], count),
            "params_init_seed": draws.integers(0, 2**31, count),
            "exponent": exponent,
            "exponent_low": exponent - 0.01,
            "exponent_high": exponent + 0.01,
            "verdict": np.where(np.isnan(exponent), "diverged", "edge"),
            "gradient_evaluations": np.where(state == "complete", 600.0, 40.0),
            "initial_loss": draws.normal(2.3, 0.1, count),
            "reason": np.where(state == "pruned", "fell by too little until step 20", None),
            "finished": pd.date_range("2026-01-01", periods=count, freq="s"),
        }
    )
    for place in range(parameters):
        made[f"params_a_rather_long_name_{place}"] = draws.uniform(size=count)
    few = range(min(count, 60))
    series = [
        part
        for number in few
        for part in (
            long_form(number, "loss", np.exp(-0.01 * np.arange(600)) + draws.uniform(0, 0.1, 600)),
            long_form(number, "separation", -13.8 + 0.02 * np.arange(21)[:, None] + np.zeros(16)),
            long_form(number, "weights", draws.normal(size=(60, 8)).cumsum(0), range(0, 600, 10)),
        )
    ]
    decisions = made.loc[state == "pruned", ["trial_number", "reason"]].assign(
        rule="LyapunovPruner", pruned=True, step=20
    )
    exponents = pd.DataFrame(
        {
            "trial_number": np.arange(count),
            "name": "neighbours@20",
            "value": exponent,
            "low": exponent - 0.01,
            "high": exponent + 0.01,
            "horizon": 20,
            "neighbours": 16,
            "segment": 1,
            "estimator": "neighbours",
            "details": [{"verdict": "edge"}] * count,
        }
    )
    all_series = pd.concat(series) if series else pd.DataFrame(columns=SERIES)
    return Made(made, exponents, decisions, all_series, {"hot": 0.1, "resolution": 1e-3})


def said(figure: go.Figure) -> str:
    """All that a figure says in words outside its traces."""
    words = [str(figure.layout.title.text), str(figure.layout.title.subtitle.text)]
    return " | ".join([*words, *(str(each.text) for each in figure.layout.annotations)])
