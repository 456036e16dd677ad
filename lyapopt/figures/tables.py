"""Tables of numbers as figures, so that they stand beside others on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lyapopt.figures.text import escaped, name_of, shown_interval, worded
from lyapopt.figures.theme import CLEAR, GRID, INK, notice, styled
from lyapopt.figures.trial_table import NOBODY, is_maximised, trial_table, value_name

_GREY = "rgba(128,128,128,.12)"
_ROW = 26  # pixels


def collect_cells(rows: pd.DataFrame) -> list[list[str]]:
    """Texts of the cells, column by column; three significant digits, empty where missing."""
    return [[escaped(value, 200) for value in rows[column]] for column in rows.columns]


def draw_table(names: Sequence[str], cells: Sequence[Sequence[str]], title: str = "") -> go.Figure:
    """A table as high as its rows.

    Args:
        names: Of the columns.
        cells: Texts, column by column.
        title: Title of the figure.
    """
    columns = list(zip(names, cells, strict=True))
    font = {"color": INK, "size": 12}
    figure = go.Figure(
        go.Table(
            columnwidth=[max(map(len, [name, *column, "1.23"])) for name, column in columns],
            header={
                "values": [f"<b>{escaped(name)}</b>" for name in names],
                "align": "left",
                "fill": {"color": _GREY},
                "line": {"color": GRID},
                "font": font,
                "height": _ROW,
            },
            cells={
                "values": [list(column) for column in cells],
                "align": "left",
                "fill": {"color": CLEAR},
                "line": {"color": GRID},
                "font": font,
                "height": _ROW,
            },
        )
    )
    count = max((len(column) for column in cells), default=0)
    top = 48 if title else 10
    height = top + 14 + _ROW * (count + 1)
    return styled(figure, title, height=height, margin={"l": 2, "r": 2, "t": top, "b": 4})


def number_table(rows: pd.DataFrame, title: str = "") -> go.Figure:
    """A table of numbers and texts.

    Args:
        rows: The table.
        title: Title of the figure.

    Example:
        >>> number_table(pd.DataFrame({"method": ["random"], "regret": [0.12345]})).data[0].type
        'table'
    """
    return draw_table([str(name) for name in rows.columns], collect_cells(rows), title)


def collect_activations(
    trials: pd.DataFrame,
    published: Mapping[str, tuple[float, float]] | None = None,
    group: str | None = None,
    value: str | None = None,
) -> pd.DataFrame:
    """Rows of the table: means over trials with 95 % intervals, the lowest mean exponent first.

    Args:
        trials: A row a trial: the activation, `exponent` (nats per step), the final loss.
        published: Exponent and loss of each activation as somebody else has them.
        group: Column of the activation; by default the one that is called so.
        value: Column of the final loss; by default `value`, `value_0` or `loss`.

    Returns:
        `activation`, `trials`; `exponent` with `exponent low`, `exponent high`; the same of `loss`,
        over the trials that have one; `best loss`; how many `diverged` and were `pruned`, where
        verdicts and states are known; and with `published` `published exponent` and `published
        loss`. An interval of fewer than two trials is NaN.
    """
    table = trial_table(trials, value=value, group=group)
    maximised = is_maximised(trials)
    rows = []
    for name, part in table.groupby("group", sort=False):
        row: dict[str, object] = {"activation": name, "trials": len(part)}
        for column, label in (("exponent", "exponent"), ("value", "loss")):
            mean, low, high = _mean(part[column].to_numpy(dtype=np.float64))
            row |= {label: mean, f"{label} low": low, f"{label} high": high}
        finite = part.loc[np.isfinite(part["value"]), "value"]
        row["best loss"] = finite.max() if maximised else finite.min()
        for count, column in (("diverged", "verdict"), ("pruned", "state")):
            if column in trials:
                row[count] = int((part[column] == count).sum())
        if published is not None:
            exponent, loss = published.get(str(name), (np.nan, np.nan))
            row |= {"published exponent": exponent, "published loss": loss}
        rows.append(row)
    found = pd.DataFrame(rows)
    return found.sort_values("exponent", ignore_index=True) if len(found) else found


def draw_activations(
    rows: pd.DataFrame,
    value: str = "final loss",
    title: str = "",
    *,
    group: str = "activation",
) -> go.Figure:
    """The table, intervals behind their means.

    Args:
        rows: What `collect_activations` gives.
        value: What the first objective is called.
        title: Title of the figure.
        group: What its lines are told apart by.
    """
    name = group if set(rows["activation"]) != {NOBODY} else "trials of"
    cells: dict[str, list[str]] = {
        name: [str(each) for each in rows["activation"]],  # escaped when they became groups
        "trials": [worded(each) for each in rows["trials"]],
        "exponent (nats per step)": _with_intervals(rows, "exponent"),
        value: _with_intervals(rows, "loss"),
        "best": [worded(each) for each in rows["best loss"]],
    }
    for column in ("diverged", "pruned", "published exponent", "published loss"):
        if column in rows:
            cells[column] = [worded(each) for each in rows[column]]
    return draw_table(list(cells), list(cells.values()), title)


def activation_table(
    trials: pd.DataFrame,
    published: Mapping[str, tuple[float, float]] | None = None,
    group: str | None = None,
    *,
    value: str | None = None,
    title: str = "Exponent and final loss by activation, means with 95 % intervals",
) -> go.Figure:
    """Exponent and final loss of each activation, beside what was published (Mitra 2024, Table 1).

    Args:
        trials, published, group, value: See `collect_activations`.
        title: Title of the figure.

    Example:
        >>> made = {"params_activation": "relu", "exponent": [0.1, 0.3], "loss": [1.0, 2.0]}
        >>> float(collect_activations(pd.DataFrame(made))["loss"].iloc[0])
        1.5
    """
    rows = collect_activations(trials, published, group, value)
    if rows.empty:
        return notice(title, "There are no trials yet.")
    named = "activation" if group is None else name_of(group)
    return draw_activations(rows, value_name(trials), title, group=named)


def _with_intervals(rows: pd.DataFrame, name: str) -> list[str]:
    columns = (rows[name], rows[f"{name} low"], rows[f"{name} high"])
    return [shown_interval(*each) for each in zip(*columns, strict=True)]


def _mean(values: np.ndarray) -> tuple[float, float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return np.nan, np.nan, np.nan
    with np.errstate(over="ignore"):  # of losses that blew up
        mean = float(known.mean())
        spread = float(known.std(ddof=1)) if len(known) > 1 else np.nan
    half = 1.96 * spread / len(known) ** 0.5
    return mean, mean - half, mean + half
