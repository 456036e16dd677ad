"""The honest numbers of a study: correlations with intervals, what was pruned, what it cost."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lyapopt.display import one_line
from lyapopt.figures.decisions_over_time import collect as decided
from lyapopt.figures.exponent_against_loss import collect as gated
from lyapopt.figures.page import Table
from lyapopt.figures.signal_correlations import chosen
from lyapopt.figures.signal_correlations import collect as ranked
from lyapopt.figures.tables import collect_activations
from lyapopt.figures.text import shown_interval, worded
from lyapopt.figures.trial_table import NOBODY
from lyapopt.study.analysis.data import StudyData
from lyapopt.study.analysis.figures import RecordedTables
from lyapopt.web.pages.facts import trained_in_words

_MOST_REASONS = 30
_LONGEST = 120


def correlation_table(data: StudyData) -> Table:
    """What tells of the final loss: rank correlations, and Pearson's of the paper, with n."""
    tables = RecordedTables(data)
    series = tables.series(["loss", "validation_loss"], chosen(data.trials))
    signals = ranked(data.trials, series, tables.exponents)
    rows = [
        [
            one_line(row["signal"], _LONGEST) + _after(row["order"]),
            "rank (Spearman)",
            shown_interval(row["correlation"], row["low"], row["high"]),
            "",
            worded(row["trials"]),
            f"{row['cost']:,.0f}",
        ]
        for row in signals.to_dict(orient="records")
    ]  # fmt: skip
    found = gated(data.trials, trajectories=series if len(series) else None)
    if not math.isnan(found.r):
        count = len(found.inside)
        low, high = fisher_interval(found.r, count)
        gate = "" if math.isnan(found.gate[0]) else ", initial loss within the gate"
        interval = shown_interval(found.r, low, high)
        rows.append([f"exponent{gate}", "Pearson", interval, f"{found.p:.2g}", f"{count}", ""])
    names = ["signal", "correlation", "value [95 % interval]", "p", "n", "cost of a trial"]
    trained = trained_in_words(data)
    caption = (
        f"With the value of trials that were {trained}; "
        if trained
        else "With the final value, over trials that were trained in full; "
    )
    return Table(names, rows, caption + "pruned ones have none, so that these say nothing of them")


def _after(steps: int) -> str:
    return f" after {steps} steps" if steps else ""


def fisher_interval(r: float, count: int) -> tuple[float, float]:
    """The 95 % interval of Pearson's correlation; NaN of fewer than four pairs.

    Example:
        >>> [round(end, 2) for end in fisher_interval(0.5, 28)]
        [0.16, 0.74]

    Source: Fisher 1921, Metron 1, 3-32.
    """
    if count < 4 or abs(r) >= 1:
        return math.nan, math.nan
    middle, half = math.atanh(r), 1.959964 / math.sqrt(count - 3)
    return math.tanh(middle - half), math.tanh(middle + half)


def group_table(data: StudyData) -> Table:
    """Exponent and loss by activation."""
    rows = collect_activations(data.trials) if len(data.trials) else pd.DataFrame()
    if rows.empty:
        return Table([], [])
    head = "trials of" if set(rows["activation"]) == {NOBODY} else "activation"
    cells = [
        [
            _unescaped(row["activation"]),
            worded(row["trials"]),
            shown_interval(row["exponent"], row["exponent low"], row["exponent high"]),
            shown_interval(row["loss"], row["loss low"], row["loss high"]),
            worded(row["best loss"]),
        ]
        for row in rows.to_dict(orient="records")
    ]
    value = f"value, {trained}" if (trained := trained_in_words(data)) else "final value"
    names = [head, "trials", "exponent (nats per step)", value, "best"]
    return Table(names, cells, "Means with 95 % intervals")


def ending_table(data: StudyData) -> Table:
    """What ended trials, why, and at what cost."""
    tables = RecordedTables(data)
    table = decided(data.trials, tables.decisions) if len(data.trials) else pd.DataFrame()
    if table.empty:
        return Table([], [])
    table["why"] = [_general(each) for each in table["reason"]]
    grouped = table.groupby(["outcome", "why"], sort=False)
    rows = [
        [
            _unescaped(outcome),
            one_line(why, _LONGEST),
            f"{len(part):,}",
            f"{part['cost'].mean():,.0f}",
            f"{part['cost'].sum():,.0f}",
        ]
        for (outcome, why), part in sorted(grouped, key=lambda each: -len(each[1]))
    ]
    names = ["ended", "why", "trials", "mean cost", "total cost"]
    more = len(rows) - _MOST_REASONS
    caption = "Costs are gradient evaluations" + (f"; {more} more reasons" if more > 0 else "")
    return Table(names, rows[:_MOST_REASONS], caption)


def _general(reason: str) -> str:
    """A reason without its numbers, so that the same ones are counted together."""
    words = reason.split()
    return " ".join("…" if any(c.isdigit() for c in word) else word for word in words)


def _unescaped(text: object) -> str:
    """What was escaped for plotly, which the page does itself."""
    found = str(text).replace("&lt;", "<").replace("&gt;", ">")
    return found.replace("&amp;", "&")


def parameter_table(data: StudyData) -> Table:
    """Parameters with the values that trials had."""
    rows = []
    for column in data.trials.columns:
        name = str(column)
        if not name.startswith("params_"):
            continue
        values = [each for each in data.trials[column] if each is not None and each == each]
        if values and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            shown = f"{worded(float(np.min(values)))} to {worded(float(np.max(values)))}"
        else:
            kinds = sorted({worded(each) for each in values})
            shown = ", ".join(kinds[:20]) + (f" and {len(kinds) - 20} more" if kinds[20:] else "")
        rows.append([one_line(name.removeprefix("params_"), 80), one_line(shown, 300)])
    return Table(["parameter", "values tried"], rows)
