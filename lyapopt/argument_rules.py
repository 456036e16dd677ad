"""What classes demand of their arguments beyond the annotations: ranges, and rules for several.

Optuna says most of it when an object is made, some in the middle of a study and some never: the
study then dies of a division by zero. Neither torch nor Optuna is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Range", "Rule", "number", "one_of", "whole"]


@dataclass(frozen=True)
class Range:
    """A condition on an argument, and its words.

    Attributes:
        expected: what is expected, for "expected ..., got ...".
        holds: whether a value is that; null is not asked.
    """

    expected: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Rule:
    """A condition on several arguments together.

    Attributes:
        argument: the one that a mistake is shown at.
        message: what is wrong.
        broken: whether the arguments of a file, without their defaults, are against it.
        hint: what to do.
    """

    argument: str
    message: str
    broken: Callable[[Mapping[str, Any]], bool]
    hint: str


def number(low: float, high: float = math.inf, *, open_low: bool = False, unit: str = "") -> Range:
    """A number of at least `low`, or above it, and at most `high`.

    >>> number(0, 1).expected, number(0, open_low=True).expected
    ('a number between 0 and 1', 'a number above 0')
    """
    if math.isfinite(high):
        words = f"between {low:g} and {high:g}{', 0 excluded' if open_low else ''}"
    else:
        words = f"{'above' if open_low else 'of at least'} {low:g}"
    return Range(
        f"a number {words}{unit}", lambda v: low <= v <= high and not (open_low and v == low)
    )


def whole(low: int, high: int | None = None, *, or_word: str | None = None) -> Range:
    """A whole number of at least `low`, at most `high`, or a word in its place.

    >>> whole(1, or_word="auto").expected, whole(1, 10).expected
    ('a whole number of at least 1, or auto', 'a whole number from 1 to 10')
    """
    limits = f"of at least {low}" if high is None else f"from {low} to {high}"
    words = f"a whole number {limits}" + (f", or {or_word}" if or_word else "")

    def holds(value: Any) -> bool:
        if isinstance(value, str):
            return value == or_word
        return bool(low <= value and (high is None or value <= high))

    return Range(words, holds)


def one_of(names: Collection[str]) -> Range:
    """One of some words."""
    return Range(" or ".join(names), lambda v: v in names)
