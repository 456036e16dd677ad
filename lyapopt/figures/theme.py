"""Looks that all figures share: readable on white and on black alike, and without colour vision.

Colours have a contrast of at least 3 to 1 with white and with near-black; what a colour tells, a
symbol tells as well. The ground is transparent, so that a page decides between light and dark.
"""

from __future__ import annotations

import textwrap
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

COLOURS: Final = (
    "#1f80c0",
    "#d55e00",
    "#009e73",
    "#c45f96",
    "#c98500",
    "#7a6bd0",
    "#8c6d31",
    "#8a8f98",
)
SYMBOLS: Final = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "pentagon",
    "star",
    "hexagram",
    "bowtie",
)
INK: Final = "#7f8c9a"
GRID: Final = "rgba(128,128,128,.25)"
CLEAR: Final = "rgba(0,0,0,0)"
DIVERGING: Final = ((0.0, "#1f80c0"), (0.5, "#dcdcdc"), (1.0, "#d55e00"))
"""Below zero blue, above it vermilion; zero is in the middle."""

_KNOWN: Final[Mapping[str, int]] = {
    "relu": 0,
    "tanh": 1,
    "sigmoid": 2,
    "gelu": 3,
    "linear": 4,
    "identity": 4,
    "silu": 5,
    "swish": 5,
    "elu": 6,
    "leaky_relu": 7,
    "leakyrelu": 7,
}
VERDICTS: Final[Mapping[str, str]] = {
    "diverged": "#b5446e",
    "hot": "#d55e00",
    "edge": "#009e73",
    "neutral": "#8a8f98",
    "cool": "#8a8f98",
    "contracting": "#1f80c0",
    "dead": "#8c6d31",
    "slow": "#6f5f9c",
}
"""A colour for each verdict, former words included: studies keep the words they were run with."""


@dataclass(frozen=True)
class Look:
    """How what belongs together is drawn.

    Attributes:
        colour: Hexadecimal.
        symbol: Of markers.
    """

    colour: str
    symbol: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name, the same whatever the order: activations have theirs everywhere.

    Other names take the first free one from a place that follows from the name, so that a name
    keeps its look from figure to figure of one study.

    Example:
        >>> looks(["tanh", "relu"])["relu"] == looks(["relu"])["relu"]
        True
        >>> len({look.colour for look in looks(["a", "b", "c", "d"]).values()})
        4
    """
    wanted = sorted(set(names))
    places = {name: _KNOWN[name.lower()] for name in wanted if name.lower() in _KNOWN}
    for name in wanted:
        if name not in places:
            start, taken = zlib.crc32(name.encode()) % len(COLOURS), set(places.values())
            free = (start + i for i in range(len(COLOURS)))
            places[name] = next(
                (p % len(COLOURS) for p in free if p % len(COLOURS) not in taken), start
            )
    return {name: Look(COLOURS[place], SYMBOLS[place]) for name, place in places.items()}


_LEGEND: Final[Mapping[str, Any]] = {
    "bgcolor": CLEAR,
    "font": {"size": 11},
    "orientation": "h",  # at the foot, in lines: room for many names, on a phone as well
    "x": 0,
    "y": 0,
    "xref": "container",
    "yref": "container",
    "yanchor": "bottom",
}


def styled(figure: go.Figure, title: str = "", **layout: Any) -> go.Figure:
    """The figure on a transparent ground, its zoom kept when it is drawn again.

    Args:
        figure: Drawn so far; it is changed.
        title: Says what is shown; "" for none.
        **layout: What else is to be set.
    """
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID, linecolor=GRID, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID, linecolor=GRID, automargin=True)
    common: dict[str, Any] = {
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"color": INK, "size": 12},
        "margin": {"l": 70, "r": 24, "t": 16, "b": 92 if _has_legend(figure) else 56},
        "legend": _LEGEND,
        "hoverlabel": {"align": "left"},
        "uirevision": "keep",
    }
    if title:
        common["title"] = {
            "text": title, "font": {"size": 15}, "x": 0, "xref": "container", "xanchor": "left",
            "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 12, "l": 4},
        }  # fmt: skip
        common["margin"]["t"] = 66 if figure.layout.title.subtitle.text else 44
    figure.update_layout(**{**common, **layout})
    return figure


def _has_legend(figure: go.Figure) -> bool:
    named = [trace for trace in figure.data if "showlegend" in trace and trace.type != "table"]
    return sum(trace.showlegend is not False for trace in named) > 1


def notice(title: str, *lines: str) -> go.Figure:
    """A figure that says what is missing, where there is nothing to draw.

    Args:
        title: Title of the figure that there would be.
        *lines: Why there is none, and what to do; those too wide for a telephone are broken.
    """
    figure = go.Figure()
    figure.add_annotation(
        text="<br>".join(part for line in lines for part in _broken(line)),
        showarrow=False,
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        font={"size": 13, "color": INK},
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return styled(figure, title, height=220).update_layout(margin_l=12, margin_r=12)


def _broken(line: str) -> list[str]:
    return textwrap.wrap(line, 50, break_long_words=False, break_on_hyphens=False)


def remark(figure: go.Figure, text: str) -> None:
    """A small line under the title: what is left out, what a number rests on."""
    said = figure.layout.title.subtitle.text
    subtitle = {"text": f"{said}; {text}" if said else text, "font": {"size": 11, "color": INK}}
    figure.update_layout(title_subtitle=subtitle, margin_t=66)


def band(colour: str, opacity: float = 0.15) -> str:
    """A colour that lets what is behind it through.

    Example:
        >>> band("#0072b2")
        'rgba(0,114,178,0.15)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def interval_bars(
    centre: Iterable[float], low: Iterable[float], high: Iterable[float], colour: str = INK
) -> dict[str, Any]:
    """Error bars from a point to the ends of its interval, `None` where there is none."""

    def lengths(ends: Iterable[float], starts: Iterable[float]) -> list[float | None]:
        found = [end - start for end, start in zip(ends, starts, strict=True)]
        return [round(length, 6) if length == length else None for length in found]

    return {
        "type": "data",
        "symmetric": False,
        "array": lengths(high, centre),
        "arrayminus": lengths(centre, low),
        "thickness": 1,
        "width": 0,
        "color": band(colour, 0.5),
    }
