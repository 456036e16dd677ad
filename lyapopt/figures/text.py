"""Text from users as figures show it: plotly reads markup in every label."""

from __future__ import annotations

import html
import math

from lyapopt.display import one_line

LONGEST = 60


def escaped(value: object, longest: int = LONGEST) -> str:
    """A text in one short line, without markup.

    Example:
        >>> escaped("<b>bold</b>")
        '&lt;b&gt;bold&lt;/b&gt;'
    """
    text = value if isinstance(value, str) else worded(value)
    line = one_line(text, 10 * longest)
    line = line if len(line) <= longest else f"{line[: longest - 1]}…"
    return html.escape(line, quote=False)


def worded(value: object) -> str:
    """A value in words: three significant digits, empty where missing.

    Example:
        >>> worded(0.123456), worded(True), worded(float("nan")), worded(600)
        ('0.123', 'yes', '', '600')
    """
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}"
    return "" if value is None else str(value)


def shown_interval(value: float, low: float, high: float) -> str:
    """A number with its interval, if it has one.

    Example:
        >>> shown_interval(0.2, 0.1, 0.3), shown_interval(0.2, float("nan"), float("nan"))
        ('0.2 [0.1, 0.3]', '0.2')
    """
    known = not (math.isnan(low) or math.isnan(high))
    return worded(value) + (f" [{worded(low)}, {worded(high)}]" if known else "")


def plain_name(column: str) -> str:
    """A column as it is named among words: a parameter by its own name; not escaped."""
    plain = column.removeprefix("params_")
    return "learning rate" if plain in ("lr", "learning_rate") else plain


def name_of(column: str) -> str:
    """A column as an axis or a hover names it: short, without markup.

    Example:
        >>> name_of("params_lr"), name_of("params_width")
        ('learning rate', 'width')
    """
    return escaped(plain_name(column), 40)
