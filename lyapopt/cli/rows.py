"""Labelled lines, wrapped to the terminal; a pipe gets them as they are."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable

import typer

__all__ = ["print_rows"]

_LABEL = 10


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print labels and texts in two columns on stdout.

    Example:
        >>> print_rows([("best", "trial 7"), ("", "lr=0.1")])
        best      trial 7
                  lr=0.1
    """
    width = shutil.get_terminal_size().columns - _LABEL if sys.stdout.isatty() else None
    for label, text in rows:
        lines = [text] if width is None else _wrapped(text, max(20, width))
        for first, line in enumerate(lines):
            typer.echo(f"{'' if first else label:<{_LABEL}}{line}".rstrip())


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
