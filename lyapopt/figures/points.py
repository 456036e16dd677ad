"""Trials as points: the one way in which they are drawn, hovered and clicked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from lyapopt.figures.axes import rounded
from lyapopt.figures.theme import Look

Places = ArrayLike | Sequence[str] | Sequence[object]


def add_trials(
    figure: go.Figure,
    numbers: Iterable[int],
    x: Places,
    y: Places,
    texts: Iterable[str],
    look: Look,
    *,
    name: str,
    outside: NDArray[np.int64] | None = None,
    symbol: str | None = None,
    place: dict[str, int] | None = None,
    marker: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Add one point a trial; `customdata` is the trial's number, so that a page can link them.

    Args:
        figure: It is changed.
        numbers: Numbers of the trials.
        x, y: Places, on the scales of the axes.
        texts: Under the mouse.
        look: Colour and symbol.
        name: In the legend.
        outside: 1 or -1 where a point lies at the edge because it is beyond; drawn as an arrowhead.
        symbol: Instead of the look's.
        place: `row` and `col` of subplots.
        marker: Further settings of the markers.
        **options: Further settings of the trace.
    """
    symbols: Any = symbol or look.symbol
    if outside is not None and outside.any():
        beyond = {1: "triangle-up-open", -1: "triangle-down-open"}
        symbols = [beyond.get(int(each), symbols) for each in outside]
    figure.add_scatter(
        x=plain(x),
        y=plain(y),
        customdata=[int(number) for number in numbers],
        hovertext=list(texts),
        hoverinfo="text",
        mode="markers",
        name=name,
        legendgroup=name,
        marker={"color": look.colour, "symbol": symbols, "size": 8, "opacity": 0.85}
        | (marker or {}),
        **options,
        **(place or {}),
    )


def plain(values: Places) -> list[Any]:
    """Places as a figure has them: rounded numbers, or the texts of a categorical axis."""
    found: list[Any] = list(values)  # type: ignore[arg-type]  # what an array can be made of
    return found if any(isinstance(each, str) for each in found) else list(rounded(found))
