"""What early numbers of a study say of the final loss, against what they cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lyapopt.figures.series import named
from lyapopt.figures.signal_against_cost import collect as collect_series
from lyapopt.figures.signal_against_cost import draw as draw_series
from lyapopt.figures.text import plain_name
from lyapopt.figures.theme import INK, notice, remark
from lyapopt.figures.trial_table import numbers, parameters, trial_table

MOST_TRIALS: Final = 400
_TITLE = "Rank correlation of early signals with the final loss"
_FEWEST = 5  # trials, for an interval
_STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
_SHARE = 0.5  # of a training, up to which a number is early
SERIES: Final = {"loss": "training loss", "validation_loss": "validation loss", "metric": "metric"}
_MOST_PARAMETERS = 3


def chosen(trials: pd.DataFrame, most: int = MOST_TRIALS) -> list[int]:
    """Numbers of the trials whose trajectories are read: evenly spread among the complete ones.

    Args:
        trials: See `signal_correlations`.
        most: How many.
    """
    table = trial_table(trials)
    done = table.loc[np.isfinite(table["value"]), "number"].tolist()
    places = np.linspace(0, len(done) - 1, min(len(done), most)).round()
    return [int(done[int(place)]) for place in places]


def collect(
    trials: pd.DataFrame,
    trajectories: pd.DataFrame | None = None,
    exponents: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Spearman's correlation of each signal with the final value, over trials trained in full.

    The interval is Fisher's, with the variance of Bonett and Wright for ranks.

    Args:
        trials: A row a trial: the final loss, `exponent`, parameters.
        trajectories: Series in the long form, for losses at early steps, and how they fell.
        exponents: A row an exponent, as `StudyData.exponents` has them, for what probes cost.

    Returns:
        A row a signal and length: `signal`, `order` (steps), `cost` (gradient evaluations a
        trial), `correlation`, `low`, `high` (95 %), `trials`.

    Source: Bonett & Wright 2000, Psychometrika 65, 23-28.
    """
    table = trial_table(trials)
    done = table[np.isfinite(table["value"])].drop_duplicates("number")  # of several studies
    final = done.set_index("number")["value"]
    rows = []
    for signal, order, cost, values in _signals(trials, done, trajectories, exponents):
        paired = pd.concat([values, final], axis=1, keys=["signal", "final"], join="inner")
        known = paired[np.isfinite(paired["signal"].astype(float))]
        found = _spearman(known["signal"], known["final"])
        if found is not None:
            names = dict(zip(("correlation", "low", "high"), found, strict=True))
            rows.append({"signal": signal, "order": order, "cost": cost, **names,
                         "trials": len(known)})  # fmt: skip
    columns = ["signal", "order", "cost", "correlation", "low", "high", "trials"]
    return pd.DataFrame(rows, columns=columns)


def draw(signals: pd.DataFrame, title: str = _TITLE) -> go.Figure:
    """A line a signal, with intervals, over a logarithmic cost.

    Args:
        signals: What `collect` gives.
        title: Title of the figure.
    """
    ends = {"low": "correlation_low", "high": "correlation_high"}
    series = collect_series(signals.rename(columns=ends), "correlation")
    figure = draw_series(series, "rank correlation (Spearman)", title=title)
    figure.update_yaxes(range=[-1.05, 1.05])
    figure.add_hline(y=0, line={"color": INK, "width": 1})
    remark(figure, f"{signals['trials'].max():,} trials trained in full; pruned ones have no say")
    return figure


def signal_correlations(
    trials: pd.DataFrame,
    trajectories: pd.DataFrame | None = None,
    exponents: pd.DataFrame | None = None,
    *,
    title: str = _TITLE,
) -> go.Figure:
    """How each early signal ranks the trials by their final loss, against what it costs.

    Args:
        trials, trajectories, exponents: See `collect`.
        title: Title of the figure.

    Example:
        >>> made = {"value": [1.0, 2.0, 3.0, 4.0, 5.0], "params_lr": [5, 4, 3, 2, 1]}
        >>> collect(pd.DataFrame(made))[["signal", "cost", "correlation"]].values.tolist()
        [['learning rate alone', 0.0, -1.0]]
    """
    signals = collect(trials, trajectories, exponents)
    if signals.empty:
        return notice(title, f"That needs {_FEWEST} trials or more that were trained in full.")
    return draw(signals, title)


Signal = tuple[str, int, float, "pd.Series[float]"]


def _signals(
    trials: pd.DataFrame,
    done: pd.DataFrame,
    trajectories: pd.DataFrame | None,
    exponents: pd.DataFrame | None,
) -> Iterator[Signal]:
    """Each signal: its name, its steps, its cost, and its value of each trial by number."""
    numbers_of = done["number"].to_numpy()
    names = sorted(parameters(trials), key=lambda name: plain_name(name) != "learning rate")
    varying = 0
    for name in names:
        values = numbers(trials, name)[done.index]
        if varying < _MOST_PARAMETERS and len(np.unique(values[np.isfinite(values)])) > 1:
            varying += 1
            yield f"{plain_name(name)} alone", 0, 0.0, pd.Series(values, index=numbers_of)
    steps, cost = _cost_of_probes(done, exponents)
    if not math.isnan(cost):
        yield "exponent", steps, cost, done.set_index("number")["exponent"]
    if trajectories is None or trajectories.empty:
        return
    for series, label in SERIES.items():
        yield from _losses(named(trajectories, series), label, falls=series == "loss")


def _losses(rows: pd.DataFrame, label: str, *, falls: bool) -> Iterator[Signal]:
    if rows.empty:
        return
    wide = rows.drop_duplicates(["trial_number", "step"]).pivot(
        index="step", columns="trial_number", values="value"
    )  # fmt: skip
    wide = wide[wide.notna().sum(axis=1) >= _FEWEST]
    if wide.empty:
        return
    last = int(wide.index.max())
    wanted = [each for each in _STEPS if each <= _SHARE * last] if falls else wide.index.tolist()
    for step in [each for each in wanted if each in wide.index and each <= _SHARE * last]:
        now: pd.Series[float] = wide.T[step].astype(float)
        # The loss at step t is that before the t-th update: t gradients, and one more for its own.
        yield label, int(step), float(step + (1 if falls else 0)), now
        if falls and step > 0 and 0 in wide.index:
            yield f"fall of the {label}", int(step), float(step + 1), now / wide.T[0]


def _cost_of_probes(done: pd.DataFrame, exponents: pd.DataFrame | None) -> tuple[int, float]:
    """Steps and mean gradient evaluations of a probe; NaN where it is not known."""
    if exponents is None or exponents.empty or not np.isfinite(done["exponent"]).any():
        return 0, math.nan
    own = exponents.drop_duplicates("trial_number")
    own = own[own["trial_number"].isin(done["number"])]
    horizon, neighbours = numbers(own, "horizon"), numbers(own, "neighbours")
    weight = np.where(own["estimator"] == "tangent", 2.0, 1.0)  # a tangent step costs two gradients
    cost = (1 + weight * neighbours) * horizon
    known = np.isfinite(cost)
    if not known.any():
        return 0, math.nan
    return int(np.median(horizon[known])), float(cost[known].mean())


def _spearman(x: pd.Series[float], y: pd.Series[float]) -> tuple[float, float, float] | None:
    count = len(x)
    if count < _FEWEST or x.nunique() < 2 or y.nunique() < 2:
        return None
    rho = float(np.corrcoef(x.rank(), y.rank())[0, 1])
    rho = min(max(rho, -1.0), 1.0)
    if abs(rho) > 1 - 1e-12:
        return (float(round(rho)),) * 3
    half = 1.96 * math.sqrt((1 + rho**2 / 2) / (count - 3))
    return rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
