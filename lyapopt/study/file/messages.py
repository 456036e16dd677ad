"""The words of messages: values as a YAML file has them, near names, a parser's complaint."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from lyapopt.study.file.document import Plain

__all__ = [
    "INDENTATION",
    "describe",
    "did_you_mean",
    "explain_syntax",
    "known_names",
    "nearest",
    "number",
]


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


def describe(value: Plain) -> str:
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


INDENTATION = "the indentation does not fit what is above"


def explain_syntax(
    problem: str, context: str, before: str, line: str
) -> tuple[str, str | None, bool]:
    """Message, hint, and whether the caret belongs where the construct was opened.

    Args:
        problem: what the parser says is wrong.
        context: what it was reading.
        before: the line before the place.
        line: the line of the place.
    """
    if "'\\t'" in problem:
        return "a tab: YAML is indented with spaces", "replace the tab by spaces", False
    if "flow" in context and "${" in line:
        hint = 'inside [ ] and { } quote it: "${NAME}"'
        return "${...} cannot stand here without quotes", hint, False
    if "end of stream" in problem or "stream end" in problem:
        return _unclosed(context), None, True
    if "another document" in problem:
        return "a second document begins here: a study file holds one", None, False
    if "mapping values are not allowed" in problem:
        return _unexpected_colon(before, line)
    if "could not find expected ':'" in problem:
        return "a key without a value: a colon is missing", "write key: value", False
    if "cannot start any token" in problem:
        character = problem.split("'")[1] if problem.count("'") > 1 else "this character"
        return f"a value cannot begin with {character}", "put the value in quotes", False
    if "expected <block end>" in problem:
        hint = "keys of one mapping stand in one column"
        return INDENTATION, hint, False
    if "flow" in context and "expected ','" in problem:
        close = "]" if "sequence" in context else "}"
        return f"a comma or {close} is missing before this", None, False
    if "unknown escape" in problem:
        hint = "use single quotes, or write \\\\"
        return "an unknown escape in a double-quoted string", hint, False
    detail = ": ".join(part for part in (context, problem) if part)
    return f"not valid YAML ({detail})", None, False


def _unclosed(context: str) -> str:
    if "quoted" in context:
        return "this quotation mark is never closed"
    if "sequence" in context:
        return "this [ is never closed"
    if "mapping" in context:
        return "this { is never closed"
    return "the file ends in the middle of a value"


def _unexpected_colon(before: str, line: str) -> tuple[str, str | None, bool]:
    deeper = len(line) - len(line.lstrip()) > len(before) - len(before.lstrip())
    if deeper and before.strip() and not before.rstrip().endswith((":", "-")):
        hint = "keys of one mapping stand in one column"
        return INDENTATION, hint, False
    if before.strip() and ":" not in before:
        return "the line before has no colon, so it is no key", "write key: value", False
    return "a colon cannot stand here", "a text with a colon in it needs quotes", False
