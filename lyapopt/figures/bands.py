"""The ranges of the verdicts on an axis of exponents, from the limits that a study was run with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

from lyapopt.figures.axes import symlog
from lyapopt.figures.theme import INK, VERDICTS, band

LIMITS: Final[Mapping[str, float]] = {"hot": 0.1, "resolution": 1e-3}
"""Nats per step, where nothing else is known."""

_FAR: Final = 1e3
_SIZE: Final = 10  # of the font, pixels
_LINE: Final = 14  # of text, pixels
_LETTER: Final = 5.7  # of that font, pixels
_PHONE: Final = 280.0  # how wide an axis of x is at least, pixels


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
    pixels: float = 190.0,
    row: int | None = None,
    col: int | None = None,
) -> None:
    """Shade the bands behind a symlog axis, each with its word.

    Args:
        figure: It is changed.
        limits: See `verdict_bands`.
        axis: `y` or `x`.
        span: What the axis shows, on the axis's own scale; bands outside are left out.
        pixels: About how high the axis is drawn, if it is `y`: lower bands than a line of text
            have no word.
        row, col: Of subplots.
    """
    place = {} if row is None else {"row": row, "col": col}
    shown = []
    for one in verdict_bands(limits):
        low, high = max(_at(one.low), span[0]), min(_at(one.high), span[1])
        if high > low:
            shown.append(Band(one.verdict, low, high))
    labels = _beside(shown, span) if axis == "x" else _above_each_other(shown, span, pixels)
    for one, label in zip(shown, labels, strict=True):
        shape = {
            "fillcolor": band(VERDICTS[one.verdict], 0.1),
            "line_width": 0,
            "layer": "below",
            **label,
        }
        if axis == "y":
            figure.add_hrect(y0=one.low, y1=one.high, **shape, **place)
        else:
            figure.add_vrect(x0=one.low, x1=one.high, **shape, **place)


def _above_each_other(
    bands: Sequence[Band], span: tuple[float, float], pixels: float
) -> list[dict[str, Any]]:
    """Words in the middle of their bands, where two are apart by as much as the bands are high."""
    line = _LINE / pixels * (span[1] - span[0])
    return [_label(one, "right") if one.high - one.low >= line else {} for one in bands]


def _beside(bands: Sequence[Band], span: tuple[float, float]) -> list[dict[str, Any]]:
    """Words at the top, below those that they would be written over on a telephone.

    How wide the axis is drawn is not known, so that they are in several lines there only where
    bands are narrow.
    """
    labels = []
    lines: list[list[tuple[float, float]]] = []
    for one in bands:
        start = (one.low - span[0]) / (span[1] - span[0]) * _PHONE
        width = _LETTER * (len(one.verdict) + 1)
        is_last = start + width > _PHONE  # it would be outside of the axis
        left = (one.high - span[0]) / (span[1] - span[0]) * _PHONE - width if is_last else start
        free = (n for n, taken in enumerate(lines)
                if all(left >= b or left + width <= a for a, b in taken))  # fmt: skip
        line = next(free, len(lines))
        if line == len(lines):
            lines.append([])
        lines[line].append((left, left + width))
        position = "top right" if is_last else "top left"
        labels.append(_label(one, position, annotation_yshift=-_LINE * line))
    return labels


def _label(one: Band, position: str, **more: Any) -> dict[str, Any]:
    return {
        "annotation_text": one.verdict,
        "annotation_position": position,
        "annotation_font": {"size": _SIZE, "color": INK},
        "annotation_borderpad": 1,
        **more,
    }


def _at(value: float) -> float:
    return math.copysign(_FAR, value) if math.isinf(value) else float(symlog(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
