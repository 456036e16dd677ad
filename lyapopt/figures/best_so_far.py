"""How good the best trial was, after how much compute."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lyapopt.figures.axes import LossScale, rounded
from lyapopt.figures.points import add_trials
from lyapopt.figures.theme import COLOURS, Look, looks, notice, styled
from lyapopt.figures.trial_table import (
    NOBODY,
    column_of,
    groups,
    hover_texts,
    require,
    trial_table,
    value_name,
)

_TITLE = "Best trial so far against compute"
_ENDED = ("", "complete", "pruned", "failed", "interrupted")
_MOST_STEPS = 200  # of one line


def collect(trials: pd.DataFrame, group: str | None = None) -> pd.DataFrame:
    """Trials that were the best of their group when they ended, in that order.

    Args:
        trials: A row a trial: `value`, `state`, `gradient_evaluations`, `finished`.
        group: Column that lines tell apart, such as `study_name`; without it there is one line.

    Returns:
        The columns of `trial_table`, and `spent` (gradient evaluations of all trials of the group
        that had ended by then; where none are known, how many had) and `total` (of the whole
        group); the index is the row in `trials`.
    """
    if group is not None:
        require(trials, group)
    table = trial_table(trials)
    table["group"] = groups(trials, group) if group is not None else NOBODY
    when = column_of(trials, "finished").to_numpy() if "finished" in trials else np.nan
    table = table.assign(finished=when)[table["state"].isin(_ENDED)]
    table = table.sort_values(["finished", "number"], kind="stable", na_position="last")
    cost = table["cost"].clip(lower=0.0).fillna(0.0)
    if not (cost > 0).any():
        cost[:] = 1.0
    table["spent"] = cost.groupby(table["group"]).cumsum()
    table["total"] = cost.groupby(table["group"]).transform("sum")
    known = table[np.isfinite(table["score"])]
    before = known.groupby("group")["score"].transform(lambda each: each.cummin().shift())
    best: pd.DataFrame = known[~(known["score"] >= before)]
    return best.drop(columns="finished")


def draw(
    table: pd.DataFrame,
    texts: pd.Series[str],
    *,
    value: str = "final loss",
    compute: str = "gradient evaluations",
    title: str = _TITLE,
) -> go.Figure:
    """A staircase a group, with a point where a trial became the best.

    Args:
        table: What `collect` gives.
        texts: Under the mouse, by the index of the table.
        value, compute: What the axes are called.
        title: Title of the figure.
    """
    figure, scale = go.Figure(), LossScale.of(table["value"])
    shown = looks(table["group"])
    for name, look in shown.items():
        part = table[table["group"] == name].tail(_MOST_STEPS)
        drawn = look if len(shown) > 1 or name != NOBODY else Look(COLOURS[0], "circle")
        x, y = part["spent"], scale.clipped(part["value"])
        add_trials(
            figure, part["number"], x, y, texts[part.index], drawn, name=name,
            outside=scale.is_outside(part["value"]),
        )  # fmt: skip
        figure.add_scatter(
            x=rounded([*x, part["total"].iloc[-1]]), y=rounded([*y, y[-1]]), mode="lines",
            line={"shape": "hv", "color": drawn.colour, "width": 2}, legendgroup=name,
            showlegend=False, hoverinfo="skip", name=name,
        )  # fmt: skip
    figure.update_xaxes(title=compute, rangemode="tozero")
    figure.update_yaxes(**scale.axis(title=f"best {value}"))
    return styled(figure, title, height=420)


def best_so_far(
    trials: pd.DataFrame, group: str | None = None, *, title: str = _TITLE
) -> go.Figure:
    """The best value so far against the compute spent, a line a study or another group.

    Args:
        trials, group: See `collect`.
        title: Title of the figure.

    Example:
        >>> cost = {"gradient_evaluations": [10.0, 10.0, 10.0]}
        >>> found = collect(pd.DataFrame({"value": [3.0, 5.0, 2.0], **cost}))
        >>> found["spent"].tolist(), found["value"].tolist()
        ([10.0, 30.0], [3.0, 2.0])
    """
    table = collect(trials, group)
    if table.empty:
        return notice(title, "No trial has a value yet.")
    kept = table.groupby("group").tail(_MOST_STEPS)
    texts = pd.Series(hover_texts(trials, kept), index=kept.index, dtype=object)
    is_counted = (trial_table(trials)["cost"] > 0).any()
    return draw(
        kept,
        texts,
        value=value_name(trials),
        compute="gradient evaluations" if is_counted else "trials",
        title=title,
    )
