"""Growth rates as they settle: the spectrum of Lyapunov exponents against the step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lyapopt.figures.axes import rounded, symlog, symlog_axis
from lyapopt.figures.series import one_trial, pivoted
from lyapopt.figures.text import escaped
from lyapopt.figures.theme import COLOURS, notice, remark, styled

_TITLE = "Lyapunov spectrum over time"
_MOST_LINES = 24
_MOST_POINTS = 300


def collect(spectrum: pd.DataFrame, *, trial: int | None = None) -> pd.DataFrame:
    """The growth rates after each step, a column an exponent.

    Args:
        spectrum: In the long form: `step`, `component` (0 for the largest exponent), `value`
            (mean growth until then, nats per step), and where there are several `trial_number`,
            `name` (the rows that are called `spectrum` are read).
        trial: Number of the trial; by default the first there is.

    Returns:
        Index `step`, a column for each component.
    """
    steps, values = pivoted(one_trial(spectrum, "spectrum", trial)[1])
    columns = pd.RangeIndex(values.shape[1] if len(steps) else 0, name="component")
    return pd.DataFrame(values, index=pd.Index(steps, name="step"), columns=columns)


def draw(
    rates: pd.DataFrame,
    title: str = _TITLE,
    names: Sequence[str] | None = None,
    unit: str = "nats per step",
) -> go.Figure:
    """A line an exponent, the largest on top; at the end of each is where it came to.

    Args:
        rates: What `collect` gives.
        title: Title of the figure.
        names: What the lines are called; by default λ1, λ2, ...
        unit: Of the rates.
    """
    figure = go.Figure()
    count = rates.shape[1]
    labels = list(names or (f"λ{place + 1}" for place in range(count)))
    kept = np.unique(np.linspace(0, len(rates) - 1, min(len(rates), _MOST_POINTS)).astype(int))
    steps = rates.index.to_numpy()[kept].tolist()
    shown = np.unique(np.linspace(0, count - 1, min(count, _MOST_LINES)).astype(int))
    for place in shown:
        line = rates.iloc[kept, place].to_numpy(dtype=np.float64)
        known = line[~np.isnan(line)]
        last = f" = {known[-1]:.3g}" if len(known) else ": not a number"
        figure.add_scatter(
            x=steps,
            y=rounded(symlog(line)),
            customdata=rounded(line),
            hovertemplate="step %{x}: %{customdata:.4g}",
            mode="lines" if len(steps) > 1 else "markers",
            name=f"{escaped(labels[place])}{last}",
            line={"color": _shade(place, count), "width": 2},
        )
    figure.update_yaxes(title=f"growth rate ({unit})", **symlog_axis(rates.iloc[kept]))
    figure.update_xaxes(title="step")
    if len(shown) < count:
        remark(figure, f"{len(shown)} of {count} are shown")
    return styled(figure, title, height=440)


def spectrum_over_time(
    spectrum: pd.DataFrame,
    *,
    trial: int | None = None,
    names: Sequence[str] | None = None,
    unit: str = "nats per step",
    title: str = _TITLE,
) -> go.Figure:
    """Each exponent of a spectrum as it settles, against the step.

    Args:
        spectrum, trial: See `collect`.
        names: What the lines are called; by default λ1, λ2, ...
        unit: Of the numbers.
        title: Title of the figure.

    Example:
        >>> two = {"step": [1, 1, 2, 2], "component": [0, 1, 0, 1], "value": [0.3, -0.1, 0.2, -0.2]}
        >>> spectrum_over_time(pd.DataFrame(two)).data[0].name
        'λ1 = 0.2'
    """
    rates = collect(spectrum, trial=trial)
    if rates.empty:
        return notice(title, "No spectrum was measured: lyapopt.training_spectrum does that.")
    return draw(rates, title, names, unit)


def _shade(place: int, count: int) -> str:
    """Few lines in the colours of all figures, many from vermilion to blue by their place."""
    if count <= len(COLOURS) - 1:
        return COLOURS[place]
    share = place / max(count - 1, 1)
    first, last = ((213, 94, 0), (31, 128, 192))
    mixed = (round(a + share * (b - a)) for a, b in zip(first, last, strict=True))
    return "#" + "".join(f"{each:02x}" for each in mixed)
