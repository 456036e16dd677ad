"""A dashboard as data: which figures, in which order, with which arguments and filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Panel:
    """One figure on a page.

    Attributes:
        figure: Its name in `lyapopt.figures.FIGURES`.
        arguments: Arguments of the figure.
        wide: Whether it takes the whole width.
    """

    figure: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    wide: bool = False


@dataclass(frozen=True)
class Filter:
    """What trials can be chosen by.

    Attributes:
        name: `state`, `verdict`, or the name of a categorical parameter.
        only: The choices that are on when the page opens; all of them if empty.
    """

    name: str
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A page of figures.

    Attributes:
        name: What it is called in an address: the name of its file without the ending.
        title: What its reader sees.
        panels: Its figures from top to bottom.
        filters: What trials can be chosen by; without any, whatever a study has.
        description: A line or two under the title.
        several: Whether it shows several studies beside each other.
    """

    name: str
    title: str
    panels: tuple[Panel, ...]
    filters: tuple[Filter, ...] = ()
    description: str = ""
    several: bool = False
