"""A picture of each trial: its loss, the separation of its neighbours, its verdict."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from lyapopt.figures.axes import LossScale
from lyapopt.figures.theme import COLOURS, INK, VERDICTS
from lyapopt.store.engine import has_sql, parse_url, sqlite_path

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as PlainFont

    BaseImageFont = FreeTypeFont | PlainFont

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 520, 300
_FINE: Final = 2  # it is drawn so much larger, and reduced: edges become smooth
_GROUND, _TEXT, _FRAME = "#ffffff", "#222833", "#dde1e6"


def artifact_folder(storage: str) -> Path | None:
    """Where pictures are kept: beside an SQLite file, or where `LYAPOPT_ARTIFACTS` says.

    Args:
        storage: URL of Optuna's storage.

    Example:
        >>> str(artifact_folder("sqlite:///runs/digits.db"))
        'runs/digits.artifacts'
    """
    named = os.environ.get("LYAPOPT_ARTIFACTS")
    if named:
        return Path(named)
    path = sqlite_path(parse_url(storage)) if has_sql(storage) else None
    return None if path is None else path.with_suffix(".artifacts")


@dataclass(frozen=True)
class Curves:
    """What a picture shows.

    Attributes:
        title: One line.
        verdict: The word; "" for none.
        loss: Steps `(T,)` and training losses `(T,)`.
        separation: Steps `(S,)` and mean logarithms of the separations `(S,)`.
    """

    title: str
    verdict: str
    loss: tuple[Floats, Floats]
    separation: tuple[Floats, Floats]


def picture(curves: Curves) -> bytes:
    """The picture as a PNG, a few kilobytes."""
    # Imported here: an optional extra.
    from PIL import Image, ImageDraw, ImageFont

    size = (WIDTH * _FINE, HEIGHT * _FINE)
    image = Image.new("RGB", size, _GROUND)
    pen = ImageDraw.Draw(image)
    large, small = (ImageFont.load_default(each * _FINE) for each in (14, 11))
    pen.rectangle((0, 0, 8 * _FINE, size[1]), fill=VERDICTS.get(curves.verdict, INK))
    pen.text((20 * _FINE, 10 * _FINE), curves.title, fill=_TEXT, font=large)
    steps, losses = curves.loss
    scale = LossScale.of(losses)
    values = scale.clipped(losses)
    if scale.kind == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log10(values)
    half = (WIDTH - 30) // 2
    panels = (
        ("loss", steps, values, COLOURS[0], scale.kind == "log"),
        ("ln separation", *curves.separation, COLOURS[1], False),
    )
    for place, (name, x, y, colour, is_log) in enumerate(panels):
        left = 20 + place * half
        box = tuple(each * _FINE for each in (left + 44, 58, left + half - 14, HEIGHT - 30))
        pen.text((left * _FINE, 36 * _FINE), name, fill=_TEXT, font=small)
        _panel(pen, box, x, y, colour, is_log, small)
    image = image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def _panel(
    pen: ImageDraw,
    box: Sequence[int],
    x: Floats,
    y: Floats,
    colour: str,
    is_log: bool,
    font: BaseImageFont,
) -> None:
    left, top, right, bottom = box
    pen.rectangle((left, top, right, bottom), outline=_FRAME, width=_FINE)
    known = np.isfinite(y)
    if not known.any():
        pen.text((left + 8 * _FINE, top + 8 * _FINE), "not recorded", fill=INK, font=font)
        return
    low, high = float(y[known].min()), float(y[known].max())
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    first, last = float(x[0]), float(max(x[-1], x[0] + 1))
    across = left + (x - first) / (last - first) * (right - left)
    up = bottom - 4 * _FINE - (y - low) / (high - low) * (bottom - top - 8 * _FINE)
    line: list[tuple[float, float]] = []
    for is_known, point in zip(known, zip(across.tolist(), up.tolist(), strict=True), strict=True):
        if is_known:
            line.append(point)
        elif len(line) > 1:
            pen.line(line, fill=colour, width=2 * _FINE, joint="curve")
            line = []
    if len(line) > 1:
        pen.line(line, fill=colour, width=2 * _FINE, joint="curve")
    for value, at in ((high, top), (low, bottom - 13 * _FINE)):
        shown = 10**value if is_log else value
        text = f"{shown:.3g}" if math.isfinite(shown) else ""
        pen.text((left - 5 * _FINE, at), text, fill=INK, font=font, anchor="ra")
    for step, at, anchor in ((first, left, "la"), (last, right, "ra")):
        pen.text((at, bottom + 5 * _FINE), f"{step:.0f}", fill=INK, font=font, anchor=anchor)
