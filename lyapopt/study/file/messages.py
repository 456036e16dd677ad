"""The words of messages: values as a YAML file has them, near names, a parser's complaint."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lyapopt.display import printable
from lyapopt.study.file.document import Path, Plain, Report

__all__ = [
    "INDENTATION",
    "SyntaxMistake",
    "as_key",
    "as_written",
    "describe",
    "described",
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
    ['null', 'true', '3', '1e-05', 'the string "3"', 'a list', 'a mapping']
    """
    if value is None or isinstance(value, bool):
        return as_written(value)
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


def described(value: Plain, path: Path, report: Report) -> str:
    """`describe`, but "nothing" where nothing stands behind the key."""
    place = report.document.places.get(path)
    empty = value is None and place is not None and place.value == place.key
    return "nothing" if empty else describe(value)


def as_written(value: Plain) -> str:
    """A scalar as the file has it.

    >>> [as_written(value) for value in (None, True, "relu", 0.5)]
    ['null', 'true', 'relu', '0.5']
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value) if isinstance(value, int | float) else str(value)


def number(value: int | float) -> str:
    """A number as text; Python refuses to print integers of more than 4300 digits.

    >>> number(10**5000)
    'a number of about 5001 digits'
    """
    if isinstance(value, int) and value.bit_length() > 300:
        return f"a number of about {int(value.bit_length() * 0.30103) + 1} digits"
    return str(value)


def _shorten(text: str) -> str:
    return printable(text if len(text) <= 60 else text[:57] + "...")


def _form(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


INDENTATION = "the indentation does not fit what is above"
NO_KEY = "this is no key with a value: a colon with a space behind it is missing"


@dataclass(frozen=True)
class SyntaxMistake:
    """What a parser's complaint means.

    Attributes:
        message: what is wrong.
        hint: what to do.
        at: where: `here`, where the parser stopped; `opening`, where what it was reading began;
            `before`, at the lines above without a colon; `end`, at the end of the line above.
    """

    message: str
    hint: str | None = None
    at: Literal["here", "opening", "before", "end"] = "here"


def explain_syntax(
    problem: str, context: str, before: str, line: str, opening: str
) -> SyntaxMistake:
    """The parser's complaint in the user's words.

    Args:
        problem: what the parser says is wrong.
        context: what it was reading.
        before: the last line with text before the place.
        line: the line of the place.
        opening: the line on which that began which it was reading.
    """
    if "'\\t'" in problem:
        return SyntaxMistake("a tab: YAML is indented with spaces", "replace the tab by spaces")
    if "flow" in context and "${" in line:
        hint = 'inside [ ] and { } quote it: "${NAME}"'
        return SyntaxMistake("${...} cannot stand here without quotes", hint)
    if "end of stream" in problem or "stream end" in problem:
        return SyntaxMistake(_unclosed(context), at="opening")
    if "another document" in problem:
        return SyntaxMistake("a second document begins here: a file holds one")
    if "mapping values are not allowed" in problem:
        return _unexpected_colon(before, line)
    if "could not find expected ':'" in problem:  # the parser notices it on the next line
        return SyntaxMistake(NO_KEY, as_key(opening), at="opening")
    if "cannot start any token" in problem:
        character = problem.split("'")[1] if problem.count("'") > 1 else "this character"
        return SyntaxMistake(f"a value cannot begin with {character}", "put the value in quotes")
    if "expected <block end>" in problem:
        return SyntaxMistake(INDENTATION, "keys of one mapping stand in one column")
    if "flow" in context and "expected ','" in problem:
        return _not_separated("]" if "sequence" in context else "}", context, line, opening)
    if "unknown escape" in problem:
        hint = "use single quotes, or write \\\\"
        return SyntaxMistake("an unknown escape in a double-quoted string", hint)
    detail = ": ".join(part for part in (context, problem) if part)
    return SyntaxMistake(f"not valid YAML ({detail})")


def as_key(line: str) -> str:
    """How a line that should be a key and a value, and is none, may have been meant.

    >>> as_key("seed 0"), as_key("  seed:0"), as_key("seed")
    ('write seed: 0', 'write seed: 0, with a space', 'write key: value')
    """
    text = line.strip()
    if text[:1] == "-" and text[1:2] not in ("", "-", " "):
        return "write a space after the dash"
    match = re.fullmatch(r"(\w[\w.-]*)(\s*[:=]\s*|\s+)(\S.*)", text)
    if match is None:
        return "write key: value"
    value = match[3] if re.fullmatch(r"[\w.+-]{1,40}", match[3]) else "..."  # no half of a URL
    return f"write {match[1]}: {value}" + (", with a space" if match[2] == ":" else "")


def _unclosed(context: str) -> str:
    if "quoted" in context:
        return "this quotation mark is never closed"
    if "sequence" in context:
        return "this [ is never closed"
    if "mapping" in context:
        return "this { is never closed"
    return "the file ends in the middle of a value"


def _not_separated(close: str, context: str, line: str, opening: str) -> SyntaxMistake:
    if line == opening:
        return SyntaxMistake(f"a comma or {close} is missing before this")
    if _indentation(line) <= _indentation(opening):  # a key of what is around it
        return SyntaxMistake(_unclosed(context), at="opening")
    return SyntaxMistake(f"a comma or {close} is missing at the end of this line", at="end")


def _unexpected_colon(before: str, line: str) -> SyntaxMistake:
    deeper = _indentation(line) > _indentation(before)
    if deeper and before.strip() and not before.rstrip().endswith((":", "-")) and ":" in before:
        return SyntaxMistake(INDENTATION, "keys of one mapping stand in one column")
    if before.strip() and not re.search(r":(\s|$)", before):
        return SyntaxMistake(NO_KEY, as_key(before), at="before")
    return SyntaxMistake("a colon cannot stand here", "a text with a colon in it needs quotes")


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())
