"""One self-contained page of text, tables and figures: it needs no network and can be printed."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from lyapopt.display import one_line

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; overflow-wrap: anywhere }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
code { font: 13px ui-monospace, monospace }
table { border-collapse: collapse; margin: .6rem 0; font-size: .92rem }
th, td { text-align: left; vertical-align: top; padding: .15rem .9rem .15rem 0;
         border-bottom: 1px solid #8884 }
th { font-weight: 600 } caption { text-align: left; color: #5d6673; padding-bottom: .2rem }
.wide { overflow-x: auto }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #16181c } caption { color: #99a2ad }
}
@media print {
  body { color: #000; background: #fff; max-width: none; margin: 0 }
  .plotly-graph-div, tr, h2 { break-inside: avoid } h2 { break-after: avoid }
  .modebar { display: none }
}
"""
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        names: Of the columns; without any there is no head.
        rows: Texts, escaped when they are written.
        caption: Above it; "" for none.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, what is to be said, tables and figures.

    Attributes:
        title: The heading.
        text: Paragraphs.
        figures: Below them.
        tables: Between the two.
    """

    title: str
    text: Sequence[str] = ()
    figures: Sequence[go.Figure] = field(default_factory=tuple)
    tables: Sequence[Table] = ()


def page(title: str, command: str, sections: Sequence[Section]) -> str:
    """The HTML of a page; plotly.js is in it once.

    Args:
        title: Its title.
        command: The command that made it.
        sections: Its sections, from top to bottom.
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>",
        f"<script>{get_plotlyjs()}</script></head><body>",
        f"<h1>{html.escape(title)}</h1>",
        f"<p>Made by <code>{html.escape(one_line(command))}</code></p>",
    ]
    config = {"displaylogo": False, "responsive": True}
    for section in sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        parts += [f"<p>{html.escape(text)}</p>" for text in section.text]
        parts += [_html(table) for table in section.tables]
        parts += [
            figure.to_html(full_html=False, include_plotlyjs=False, config=config)
            for figure in section.figures
        ]
    return "\n".join([*parts, "</body></html>"])


def _html(table: Table) -> str:
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    head = _row("th", table.names) if table.names else ""
    rows = "".join(_row("td", row) for row in table.rows)
    return f"<div class='wide'><table>{caption}{head}{rows}</table></div>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(str(cell))}</{tag}>' for cell in cells)}</tr>"
