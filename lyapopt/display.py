r"""Text from users, databases and exceptions, made fit for a terminal or a log line.

A name that holds an escape sequence could clear a screen, retitle a window or forge a line; one
with a bidi override could read as something else. Files and JSON, CSV or YAML get the exact data.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from lyapopt.redaction import redacted

LONGEST_LINE: Final = 1000
"""Characters of a line after which it is shortened."""
_LONGEST_TEXT: Final = 20_000  # of a text of several lines, such as all mistakes of a study file
_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Control (C0, DEL, C1), format (bidi overrides, zero width), surrogates, line and paragraph ends.
_STEERING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# These two shape letters in Persian and the Indian scripts, and join emoji; they steer nothing.
_JOINERS: Final = "\u200c\u200d"


def printable(text: str, *, keep: str = "") -> str:
    r"""A text whose characters that steer a terminal are written as Python writes them.

    Args:
        text: Any.
        keep: Characters that stay as they are, such as a newline.

    Example:
        >>> print(printable("a\x1b[31m\nb\u202ec\x9bd \u00e9"))
        a\x1b[31m\nb\u202ec\x9bd é
    """
    if text.isprintable():
        return text
    return "".join(
        _escaped(character) if _steers(character) and character not in keep else character
        for character in text
    )


def shortened(text: str, longest: int, whole: str = "") -> str:
    """A text of at most so many characters; of a longer one, its beginning and its length.

    Args:
        text: Any.
        longest: Number of characters, the note included; at least the note remains.
        whole: Where the whole text is, in words.

    Example:
        >>> shortened("abc" * 1000, 60, "lyapopt trials -f json")
        'abcabca... (3,000 characters; whole: lyapopt trials -f json)'
    """
    if len(text) <= longest:
        return text
    place = f"; whole: {whole}" if whole else ""
    note = f"... ({len(text):,} characters{place})"
    return text[: max(0, longest - len(note))] + note


def one_line(value: object, longest: int = LONGEST_LINE, whole: str = "") -> str:
    r"""A value as one line of a bounded length: a name, a choice, the text of an exception.

    Args:
        value: Text, or what `str` makes text of.
        longest: Number of characters before escaping.
        whole: Where the whole text is, in words.

    Example:
        >>> one_line("two\nlines")
        'two\\nlines'
    """
    return printable(shortened(redacted(str(value)), longest, whole))


def readable(text: str, whole: str = "") -> str:
    """A text of several lines, each of a bounded length, and so the whole.

    Args:
        text: A message, whose own newlines and tabs stay.
        whole: Where the whole text is, in words.
    """
    lines = (shortened(line, LONGEST_LINE, whole) for line in redacted(text).split("\n"))
    return printable(shortened("\n".join(lines), _LONGEST_TEXT, whole), keep="\n\t")


def _steers(character: str) -> bool:
    return unicodedata.category(character) in _STEERING and character not in _JOINERS


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
