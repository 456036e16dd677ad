"""What results show in a notebook: small tables that need no script and no style of their own."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from itertools import islice

from lyapopt.display import one_line

_MOST_ROWS = 20


def html_table(
    title: str, names: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()
) -> str:
    """A titled table as HTML, the text of users escaped; of many rows the first ones.

    Args:
        title: Above the table.
        names: Of the columns; without any there is no head.
        rows: Numbers and texts.
        notes: Lines below.

    Example:
        >>> html_table("<b>", ["a"], [[0.1236]])
        '<b>&lt;b&gt;</b><table><tr><th>a</th></tr><tr><td>0.1236</td></tr></table>'
    """
    first = iter(rows)
    shown = [_row("td", row) for row in islice(first, _MOST_ROWS)]
    left = sum(1 for _ in first)
    below = [*([f"and {left:,} more"] if left else []), *notes]
    head = _row("th", names) if names else ""
    table = f"<table>{head}{''.join(shown)}</table>" if shown or head else ""
    return f"<b>{_text(title)}</b>{table}{''.join(f'<div>{_text(line)}</div>' for line in below)}"


def _row(tag: str, cells: Sequence[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>"


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return html.escape(one_line("" if value is None else value))
