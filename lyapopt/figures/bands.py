"""The ranges of the verdicts on an axis of exponents, from the limits that a study was run with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import plotly.graph_objects as go

from lyapopt.figures.axes import symlog
from lyapopt.figures.theme import INK, VERDICTS, band

LIMITS: Final[Mapping[str, float]] = {"hot": 0.1, "resolution": 1e-3}
"""Nats per step, where nothing else is known."""

_FAR = 1e3


@dataclass(frozen=True)
class Band:
    """The range of exponents of one verdict.

    Attributes:
        verdict: The word for it.
        low, high: Nats per step; infinite at the ends.
    """

    verdict: str
    low: float
    high: float


def verdict_bands(limits: Mapping[str, float] | None = None) -> list[Band]:
    """The bands, ascending.

    Args:
        limits: `hot`, and `resolution`, `neutral` or `edge`: how far from zero an exponent is zero.
            Studies that were run with a limit `cool` keep the words of then.

    Example:
        >>> [f"{b.low:g} {b.verdict}" for b in verdict_bands({"hot": 0.1, "resolution": 0.001})]
        ['-inf contracting', '-0.001 neutral', '0.001 edge', '0.1 hot']
        >>> [b.verdict for b in verdict_bands({"hot": 0.3, "cool": 0.001})]
        ['edge', 'cool', 'edge', 'hot']
    """
    known = {name: float(value) for name, value in (limits or {}).items() if _is_number(value)}
    hot = known.get("hot", LIMITS["hot"])
    names = ("cool", "resolution", "neutral", "edge")
    zero = next((known[name] for name in names if name in known), LIMITS["resolution"])
    zero = min(zero, hot)
    below, middle = ("edge", "cool") if "cool" in known else ("contracting", "neutral")
    return [
        Band(below, -math.inf, -zero),
        Band(middle, -zero, zero),
        Band("edge", zero, hot),
        Band("hot", hot, math.inf),
    ]


def add_bands(
    figure: go.Figure,
    limits: Mapping[str, float] | None = None,
    *,
    axis: str = "y",
    span: tuple[float, float] = (-_FAR, _FAR),
    row: int | None = None,
    col: int | None = None,
) -> None:
    """Shade the bands behind a symlog axis, each with its word.

    Args:
        figure: It is changed.
        limits: See `verdict_bands`.
        axis: `y` or `x`.
        span: What the axis shows, on the axis's own scale; bands outside are left out.
        row, col: Of subplots.
    """
    place = {} if row is None else {"row": row, "col": col}
    for one in verdict_bands(limits):
        low, high = max(_at(one.low), span[0]), min(_at(one.high), span[1])
        if high - low <= 0:
            continue
        label = {
            "annotation_text": one.verdict,
            "annotation_position": "top right" if axis == "y" else "top left",
            "annotation_font": {"size": 10, "color": INK},
            "annotation_borderpad": 1,
        }
        shape = {
            "fillcolor": band(VERDICTS[one.verdict], 0.1),
            "line_width": 0,
            "layer": "below",
            **(label if high - low > 0.04 * (span[1] - span[0]) else {}),
        }
        if axis == "y":
            figure.add_hrect(y0=low, y1=high, **shape, **place)
        else:
            figure.add_vrect(x0=low, x1=high, **shape, **place)


def _at(value: float) -> float:
    return math.copysign(_FAR, value) if math.isinf(value) else float(symlog(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
