"""What was decided about each trial, and what that saved."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lyapopt.figures.axes import rounded
from lyapopt.figures.points import add_trials
from lyapopt.figures.text import escaped
from lyapopt.figures.theme import COLOURS, INK, SYMBOLS, VERDICTS, Look, notice, remark, styled
from lyapopt.figures.trial_table import column_of, numbers, shown_texts, texts, trial_table

_TITLE = "Decisions, compute spent and compute saved"
_MOST_POINTS = 400
_MEASURING: Final = "lyapopt:measuring"
_ENDED: Final = ("complete", "pruned", "failed", "interrupted")
_LOOKS: Final = {
    "complete": Look(COLOURS[2], SYMBOLS[0]),
    "pruned": Look(COLOURS[0], "x-thin-open"),
    "failed": Look(COLOURS[6], "cross-thin-open"),
    "interrupted": Look(INK, "cross-thin-open"),
}


def collect(trials: pd.DataFrame, decisions: pd.DataFrame | None = None) -> pd.DataFrame:
    """Trials that have ended, in the order in which they did, with what they cost and saved.

    What is saved is what the same trials would have cost more without measuring and pruning, each
    trained like the average completed one; without a completed trial that is not known.

    Args:
        trials: A row a trial: `state`, `gradient_evaluations`, `verdict`, `reason`, `finished`, and
            `lyapopt:measuring` (of the cost, what measuring has taken beside training).
        decisions: A row a decision: `trial_number`, `rule`, `pruned`, `step`, `reason`.

    Returns:
        The columns of `trial_table`, and `place` (1 for the first that ended), `outcome` (the
        state; of a pruned trial with the rule or the verdict that ended it), `step` (of the
        decision; NaN without one), `reason`, `spent` and `saved` (gradient evaluations of this and
        all before; `saved` is NaN where it is not known).
    """
    table = trial_table(trials)
    table["reason"] = texts(trials, "reason")
    # A table of one's own has no states: what is in it has been trained.
    if "state" not in trials:
        table["state"] = "complete"
    table["finished"] = (
        column_of(trials, "finished").to_numpy() if "finished" in trials else math.nan
    )
    measuring = numbers(trials, _MEASURING) if _MEASURING in trials else np.zeros(len(trials))
    table["measuring"] = np.nan_to_num(measuring)
    table = table[table["state"].isin(_ENDED)]
    table = table.sort_values(["finished", "number"], kind="stable", na_position="last")
    table["place"] = np.arange(1, len(table) + 1)
    table["cost"] = table["cost"].clip(lower=0.0).fillna(0.0)
    last = _last_decisions(decisions)
    ended_by = [last.get(number, {}) for number in table["number"]]
    table["step"] = [float(each.get("step", math.nan)) for each in ended_by]
    pruned = table["state"] == "pruned"
    words = zip(table["state"], table["verdict"], ended_by, strict=True)
    table["outcome"] = [_outcome(state, verdict, by.get("rule")) for state, verdict, by in words]
    reasons = zip(table["reason"], ended_by, strict=True)
    table["reason"] = [own or str(by.get("reason") or "") for own, by in reasons]
    full = (table["cost"] - table["measuring"])[table["state"] == "complete"].mean()
    table["spent"] = table["cost"].cumsum()
    table["saved"] = (full - table["cost"]).where(pruned, 0.0 - table["measuring"]).cumsum()
    if math.isnan(full):
        table["saved"] = math.nan
    return table.drop(columns=["finished", "measuring"])


def draw(table: pd.DataFrame, hover: pd.Series[str], title: str = _TITLE) -> go.Figure:
    """What each trial cost, by what ended it, above; all that was spent and saved below.

    Args:
        table: What `collect` gives.
        hover: Under the mouse, by the index of the table; other trials are not drawn above.
        title: Title of the figure.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    shown = table.loc[hover.index].sort_values("place")
    room = min(100, max(12, 40_000 // max(1, len(shown))))  # letters of a reason
    outcomes = sorted(set(shown["outcome"]), key=lambda each: (each.split(":")[0], each))
    for name in outcomes:
        part = shown[shown["outcome"] == name]
        said = [
            f"{hover[row]}<br>{escaped(reason, room if reason.isascii() else room // 6)}"
            if reason
            else hover[row]
            for row, reason in part["reason"].items()
        ]
        add_trials(
            figure, part["number"], part["place"], part["cost"], said, _look(name, outcomes),
            name=f"{name} ({(table['outcome'] == name).sum():,})", place={"row": 1, "col": 1},
            marker={"line": {"width": 1.6}, "size": 7},
        )  # fmt: skip
    _add_totals(figure, table)
    figure.update_yaxes(title_text="cost of a trial<br>(gradient evaluations)", row=1, col=1)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title_text="total<br>(gradient evaluations)", row=2, col=1)
    figure.update_xaxes(title_text="trials that have ended", row=2, col=1)
    if not table["cost"].fillna(0.0).any():
        remark(figure, "no gradient evaluations were recorded")
    return styled(figure, title, height=520)


def decisions_over_time(
    trials: pd.DataFrame, decisions: pd.DataFrame | None = None, *, title: str = _TITLE
) -> go.Figure:
    """What ended each trial and at what cost, and the compute spent and saved so far.

    Args:
        trials, decisions: See `collect`.
        title: Title of the figure.

    Example:
        >>> two = {"state": ["complete", "pruned"], "gradient_evaluations": [600.0, 40.0]}
        >>> collect(pd.DataFrame(two))["saved"].tolist()
        [0.0, 560.0]
    """
    table = collect(trials, decisions)
    if table.empty:
        return notice(title, "No trial has ended yet.")
    return draw(table, shown_texts(trials, table), title)


def _last_decisions(decisions: pd.DataFrame | None) -> dict[int, dict[str, Any]]:
    """Of each trial that was pruned the decision that did it, by number."""
    if decisions is None or decisions.empty:
        return {}
    known = decisions[decisions["pruned"].astype(bool)]
    rows: list[dict[Any, Any]] = known.to_dict(orient="records")
    return {int(row["trial_number"]): row for row in rows}


def _outcome(state: str, verdict: str, rule: object) -> str:
    by = rule if isinstance(rule, str) and rule else verdict
    return f"pruned: {escaped(by, 30)}" if state == "pruned" and by else state


def _look(outcome: str, outcomes: list[str]) -> Look:
    if outcome in _LOOKS:
        return _LOOKS[outcome]
    word = outcome.removeprefix("pruned: ")
    if word in VERDICTS:
        return Look(VERDICTS[word], "x-thin-open")
    rules = [each for each in outcomes if each.startswith("pruned: ")]
    colours = [COLOURS[0], COLOURS[4], COLOURS[3], COLOURS[5]]
    symbols = ["x-thin-open", "asterisk-open", "y-down-open", "hash-open"]
    place = rules.index(outcome) % len(colours)
    return Look(colours[place], symbols[place])


def _add_totals(figure: go.Figure, table: pd.DataFrame) -> None:
    every = np.unique(np.linspace(0, len(table) - 1, min(len(table), _MOST_POINTS)).astype(int))
    spent, saved = (table[name].to_numpy()[every] for name in ("spent", "saved"))
    place = table["place"].to_numpy()[every].tolist()
    common = {"mode": "lines", "row": 2, "col": 1, "hovertemplate": "%{y:,.0f}"}
    figure.add_scatter(
        x=place, y=rounded(spent), name="spent", fill="tozeroy", line={"color": COLOURS[0]},
        **common,
    )  # fmt: skip
    if not np.isnan(saved).all():
        share = float(saved[-1] / max(saved[-1] + spent[-1], 1.0))
        figure.add_scatter(
            x=place, y=rounded(spent + saved), fill="tonexty",
            name=f"the same trials, not measured or pruned ({share:.0%} saved)",
            line={"color": COLOURS[2], "dash": "dash"}, customdata=rounded(saved),
            **{**common, "hovertemplate": "%{customdata:,.0f} saved"},
        )  # fmt: skip
