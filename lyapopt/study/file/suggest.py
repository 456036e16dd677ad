"""The nearest name to one that does not exist, and values in the words of a YAML file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = ["describe", "did_you_mean", "known_names", "nearest"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, or None if none does.

    >>> nearest("sampelr", ["sampler", "storage"])
    'sampler'
    >>> nearest("Learning-Rate", ["learning_rate"])
    'learning_rate'
    """
    by_form: dict[str, str] = {}
    for candidate in known:
        by_form.setdefault(_form(candidate), candidate)
    # A name of a thousand characters is nobody's typing error, and difflib is cubic.
    close = difflib.get_close_matches(_form(name[:80]), by_form, n=1, cutoff=0.6)
    return by_form[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The hint "did you mean ...?", or None if no known name is near.

    >>> did_you_mean("neighbors", ["neighbours", "radius"])
    'did you mean neighbours?'
    """
    match = nearest(name, known)
    return f"did you mean {match}?" if match is not None else None


def known_names(known: Iterable[str]) -> str:
    """Names for "expected one of ...".

    >>> known_names(["sgd", "adam", "rmsprop"])
    'sgd, adam, rmsprop'
    """
    return ", ".join(known)


def describe(value: Any) -> str:
    """A value as the user sees it, short, with its type where that is the point.

    >>> [describe(v) for v in (None, True, 3, 1e-5, "3", ["a"], {"a": 1})]
    ['nothing', 'true', '3', '1e-05', 'the string "3"', 'a list', 'a mapping']
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'the string "{_shorten(value)}"'
    if isinstance(value, int | float):
        return _shorten(number(value))
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    short = len(value) <= 4 and all(isinstance(v, int | float) for v in value)
    if value and short:
        items = ", ".join(describe(v) for v in value)
        return f"the list [{items}]"
    return "a list" if value else "an empty list"


def number(value: int | float) -> str:
    """A number as text; Python refuses to print integers of more than 4300 digits.

    >>> number(10**5000)
    'a number of about 5001 digits'
    """
    if isinstance(value, int) and value.bit_length() > 300:
        return f"a number of about {int(value.bit_length() * 0.30103) + 1} digits"
    return str(value)


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _form(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")
