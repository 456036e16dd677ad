"""Custom plots of a study, small enough to be sent at every poll."""

from __future__ import annotations

from typing import Final

import numpy as np
import plotly.graph_objects as go

from lyapopt.figures.registry import FIGURES, draw
from lyapopt.figures.trial_table import thinned, trial_table
from lyapopt.study.analysis.data import StudyData
from lyapopt.study.analysis.figures import RecordedTables

MOST_BYTES: Final = 60_000
"""Of one plot: the dashboard sends all of them again every ten seconds."""

PLOTS: Final = {
    "lyapopt-exponent-rate": "exponent_against_rate",
    "lyapopt-exponent-loss": "exponent_against_loss",
    "lyapopt-map": "trainability_map",
    "lyapopt-losses": "loss_trajectories",
    "lyapopt-decisions": "decisions_over_time",
}
"""The figure behind each plot, by the plot's id."""

_TRIALS: Final = (400, 200, 100, 50, 25, 12, 6)  # tried until a plot is small enough
_LINES: Final = 16  # trials, of a figure that has a line for each


def plots_of(data: StudyData) -> dict[str, go.Figure]:
    """The plots that a study has the numbers for, by id."""
    tables = RecordedTables(data)
    found = {}
    for name, figure in PLOTS.items():
        if FIGURES[figure].can_draw(tables):
            small = _small(figure, data)
            if small is not None:
                found[name] = small
    return found


def _small(name: str, data: StudyData) -> go.Figure | None:
    """The figure with as many trials as there is room for; `None` if there is nothing to draw."""
    table = trial_table(data.trials)
    largest = _LINES if name == "loss_trajectories" else 2 * max(len(table), 1)
    for most in _TRIALS:
        if most > largest and most != _TRIALS[-1]:
            continue
        few = data if most >= len(table) else data.only(thinned(table, most)["number"].tolist())
        figure = compact(draw(name, RecordedTables(few)))
        if not figure.data:
            return None
        if len(figure.to_json()) <= MOST_BYTES:
            return figure
    return None


def compact(figure: go.Figure) -> go.Figure:
    """The figure as small as it goes, in the size that the dashboard gives it."""
    figure.update_layout(template="none", height=None, width=None, autosize=True)
    figure.layout.template = None
    for trace in figure.data:
        for axis in ("x", "y"):
            values = getattr(trace, axis, None)
            if values is not None and len(values) and all(_is_number(each) for each in values):
                trace[axis] = [_short(each) for each in values]
    return figure


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _short(value: float | None) -> float | None:
    """Four digits, which is more than a pixel."""
    if value is None or isinstance(value, int) or not np.isfinite(value):
        return value
    return float(f"{value:.4g}")
