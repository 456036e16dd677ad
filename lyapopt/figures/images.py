"""Figures as files: pages that need no network, and pictures where kaleido is installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import plotly.graph_objects as go

from lyapopt.errors import UserError

_GROUNDS = {"light": "#ffffff", "dark": "#16181c", "transparent": "rgba(0,0,0,0)"}
Ground = Literal["light", "dark", "transparent"]


def png(
    figure: go.Figure,
    *,
    width: int = 900,
    height: int | None = None,
    scale: float = 2.0,
    ground: Ground = "light",
) -> bytes:
    """A figure as a PNG.

    Args:
        figure: Any of plotly; it is not changed.
        width, height: Pixels; the height is by default the figure's own.
        scale: Pixels of the picture for each of these.
        ground: What is behind it: `light`, `dark` or `transparent`.

    Raises:
        UserError: If kaleido is not installed, or finds no Chrome or Chromium.
    """
    try:
        import kaleido  # noqa: F401  # an extra: plotly uses it
    except ImportError:
        raise UserError(
            "a PNG needs kaleido: pip install 'lyapopt[figures]', or save the figure as .html"
        ) from None
    copy = go.Figure(figure)
    copy.update_layout(paper_bgcolor=_GROUNDS[ground])
    size = {"width": width, "height": height or copy.layout.height or 480}
    try:
        return bytes(copy.to_image(format="png", scale=scale, **size))
    except Exception as error:  # whatever kaleido, choreographer or the browser raise
        if "chrome" not in f"{type(error).__name__} {error}".lower():
            raise
        raise UserError(
            "a PNG needs Chrome or Chromium, which kaleido did not find or could not start: "
            "install one, or say where it is in the environment variable BROWSER_PATH"
        ) from error


def save(figure: go.Figure, path: str | os.PathLike[str], *, ground: Ground = "light") -> Path:
    """Write a figure as a page of its own (`.html`, works offline) or as a picture (`.png`).

    Args:
        figure: Any of plotly.
        path: The file; its ending decides.
        ground: What is behind a picture; a page has none.

    Raises:
        UserError: If the ending is another, or as `png`.
    """
    file = Path(path)
    if file.suffix == ".png":
        file.write_bytes(png(figure, ground=ground))
    elif file.suffix == ".html":
        figure.write_html(file, include_plotlyjs=True, config={"displaylogo": False})
    else:
        raise UserError(f"a figure is saved as .png or .html, not {file.suffix or file.name!r}")
    return file
