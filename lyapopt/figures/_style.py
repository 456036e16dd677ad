"""Looks that all figures share: readable on white and on black alike."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#8c6d31")
INK, GRID = "#7f8c9a", "rgba(128,128,128,.25)"
CLEAR = "rgba(0,0,0,0)"


def styled(figure: go.Figure, **layout: Any) -> go.Figure:
    """The figure on a transparent ground, its zoom kept when it is drawn again."""
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=INK)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=INK)
    common: dict[str, Any] = {
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"color": INK},
        "margin": {"l": 70, "r": 20, "t": 40, "b": 55},
        "uirevision": "keep",
    }
    figure.update_layout(**{**common, **layout})
    return figure


def band(colour: str, opacity: float = 0.15) -> str:
    """A colour that lets what is behind it through.

    Example:
        >>> band("#0072b2")
        'rgba(0,114,178,0.15)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
