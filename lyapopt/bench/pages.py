"""Where numbers go: rows of plain data for JSON, and one self-contained page of figures."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #16181c } }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.5rem }
code { font: 13px ui-monospace, monospace }
"""


@dataclass(frozen=True)
class Section:
    """A heading, what is to be said, and figures.

    Attributes:
        title: The heading.
        text: Paragraphs.
        figures: Below them.
    """

    title: str
    text: Sequence[str] = ()
    figures: Sequence[go.Figure] = field(default_factory=tuple)


def page(title: str, command: str, sections: Sequence[Section]) -> str:
    """The HTML of a page; plotly.js is in it once.

    Args:
        title: Its title.
        command: The command that made it.
        sections: Its sections, from top to bottom.
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>",
        f"<script>{get_plotlyjs()}</script></head><body>",
        f"<h1>{html.escape(title)}</h1><p>Made by <code>{html.escape(command)}</code></p>",
    ]
    for section in sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        parts += [f"<p>{html.escape(text)}</p>" for text in section.text]
        parts += [
            figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})
            for figure in section.figures
        ]
    return "\n".join([*parts, "</body></html>"])


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: a number that is not finite is `None`.

    Example:
        >>> plain_rows(pd.DataFrame({"a": [1.0, float("nan")]}))
        [{'a': 1.0}, {'a': None}]
    """
    return [
        {str(name): _finite(value) for name, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


def _finite(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
