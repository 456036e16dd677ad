"""Numbers, parameters and labelled lines as people read them."""

from __future__ import annotations

import math
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import Final, TextIO

import typer

from lyapopt.display import one_line, printable

LONGEST_NAME: Final = 100
"""Characters of a name or a choice."""
LONGEST_REASON: Final = 500
"""Characters of why a trial ended as it did."""
WHOLE_REASON: Final = "lyapopt trials -f json"
"""Where the whole reason is."""

_LABEL_WIDTH = 10
_EXCERPT = re.compile(r" *\d* \| ")
_SECONDS = ((86400, "d"), (3600, "h"), (60, "min"))


def short(value: object) -> str:
    """A value in a table: numbers with fractions to four significant digits.

    Example:
        >>> short(0.0123456), short(12345678.9), short(7), short(True), short(None)
        ('0.01235', '1.235e+07', '7', 'True', '')
    """
    if value is None:
        return ""
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:.4g}"
    return one_line(value, LONGEST_NAME)


def count(value: float) -> str:
    """A number of things, rounded to a whole one.

    Example:
        >>> count(29282.984)
        '29,283'
    """
    return f"{value:,.0f}" if math.isfinite(value) else str(value)


def interval(bounds: tuple[float, float] | None) -> str:
    """An interval.

    Example:
        >>> interval((-0.0123456, 0.2))
        '[-0.01235, 0.2]'
    """
    return "" if bounds is None else f"[{short(bounds[0])}, {short(bounds[1])}]"


def duration(seconds: float) -> str:
    """A time span in its two largest units.

    Example:
        >>> duration(12.34), duration(75), duration(3700), duration(90000)
        ('12.3 s', '1 min 15 s', '1 h 1 min', '1 d 1 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    rest, parts = round(seconds), []
    for size, unit in _SECONDS:
        amount, rest = divmod(rest, size)
        if amount:
            parts.append(f"{amount} {unit}")
    if rest:
        parts.append(f"{rest} s")
    return " ".join(parts[:2])


def parameter(params: Mapping[str, object], name: str) -> str:
    """The value of a parameter; nothing for one that a trial does not have.

    Example:
        >>> parameter({"clip": None}, "clip"), parameter({"clip": None}, "lr")
        ('null', '')
    """
    return "null" if name in params and params[name] is None else short(params.get(name))


def assignments(params: Mapping[str, object]) -> str:
    """Parameters in one line.

    Example:
        >>> assignments({"activation": "relu", "lr": 0.123456, "clip": None})
        'activation=relu lr=0.1235 clip=null'
    """
    return " ".join(f"{short(name)}={parameter(params, name)}" for name in params)


def counts(found: Mapping[str, int]) -> str:
    """Counts by name, the names in the mapping's order.

    Example:
        >>> counts({"complete": 31, "pruned": 29})
        '31 complete, 29 pruned'
    """
    return ", ".join(f"{count(number)} {short(name)}" for name, number in found.items() if number)


def plural(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> plural(1, "trial"), plural(2, "trial")
        ('1 trial', '2 trials')
    """
    return f"{count(number)} {noun}" + ("" if number == 1 else "s")


def echo(text: str = "", *, err: bool = False) -> None:
    """Print a text for people, whose own newlines and tabs stay; nothing in it can steer."""
    typer.echo(printable(text, keep="\n\t"), err=err)


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print labels and texts in two columns on stdout.

    Example:
        >>> print_rows([("best", "trial 7"), ("", "lr=0.1")])
        best      trial 7
                  lr=0.1
    """
    width = shutil.get_terminal_size().columns - _LABEL_WIDTH if sys.stdout.isatty() else None
    for label, text in rows:
        text = printable(text)
        lines = [text] if width is None else _wrapped(text, max(20, width))
        for first, line in enumerate(lines):
            echo(f"{'' if first else label:<{_LABEL_WIDTH}}{line}".rstrip())


def fitted(text: str, stream: TextIO) -> str:
    """A text whose lines are no wider than the terminal; elsewhere they stay as they are.

    An excerpt of a file stays too: a caret below it points to a column of it.

    Args:
        text: Any lines.
        stream: Where it is printed.

    Example:
        >>> import io
        >>> fitted("one line, " * 20, io.StringIO()) == "one line, " * 20
        True
    """
    if not stream.isatty():
        return text
    width = max(20, shutil.get_terminal_size().columns)
    lines = []
    for line in text.split("\n"):
        margin = line[: len(line) - len(line.lstrip())]
        if len(line) <= width or _EXCERPT.match(line):
            lines.append(line)
        else:
            lines += [margin + part for part in _wrapped(line.strip(), width - len(margin))]
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
