"""Passwords in texts that people will read: replaced, wherever a URL may have brought them."""

from __future__ import annotations

import re
from typing import Final

SECRET_KEYS: Final = frozenset({"password", "passwd", "passphrase", "sslpassword", "token"})
"""Options in the query of a database URL whose values are secret."""

# After the user's name and a colon, up to the last @ of the word: a password that was not encoded
# may hold one itself. The slashes may be too few, for who mistypes a URL has typed the password.
_CREDENTIALS = re.compile(r"(?<=/)([^\s/:@]*):(\S*)@")
_WORD = re.compile(r"\S+")
_OPTIONS = re.compile(rf"([?&](?:{'|'.join(sorted(SECRET_KEYS))})=)[^&\s'\"]+", re.IGNORECASE)


_SCHEME = re.compile(r"[A-Za-z][\w+]*://")
_QUERY = re.compile(r"\?[\w.-]+=\S*$")


def has_bare_at(url: str) -> bool:
    """Whether a user name or a password in a URL has an @ that is not encoded.

    Such a URL ends up at another host than the one that was meant, or with a part of the password
    in the name of the database.

    Example:
        >>> has_bare_at("mysql://me:p@ss/word@host/db"), has_bare_at("mysql://me:p%40ss@host/db")
        (True, False)
    """
    begin = _SCHEME.match(url.strip())
    if begin is None or begin[0].startswith(("sqlite", "journal", "grpc")):
        return False
    rest = url.strip()[begin.end() :]
    before = _QUERY.sub("", rest)
    if before.count("@") == 1 and re.search(r"@[^&/]+/", rest[len(before) :]):
        return True  # what looks like an option is a part of a password
    return before.count("@") > 1


def has_lost_end(url: str) -> bool:
    """Whether a `?` in the name of a SQLite file would be taken for the begin of options.

    Example:
        >>> has_lost_end("sqlite:///a?b.db"), has_lost_end("sqlite:///a.db?timeout=5")
        (True, False)
    """
    path, mark, options = url.partition("?")
    is_file = path.startswith("sqlite") and mark == "?"
    return is_file and re.match(r"[\w.-]+=", options) is None


ENCODING_HINT: Final = "in a user name or a password, write %40 for @, %3A for : and %2F for /"


def redacted(text: str) -> str:
    """A text in which the passwords of URLs, also of mistyped ones, are `***`.

    Args:
        text: Any, such as a traceback.

    Example:
        >>> redacted("no answer from postgresql://me:s3cr3t@db/studies?sslpassword=s3cr3t&a=1")
        'no answer from postgresql://me:***@db/studies?sslpassword=***&a=1'
        >>> redacted("redis:/:p@ss/word@host")
        'redis:/:***@host'
    """
    if "@" in text:
        text = _WORD.sub(_without_credentials, text)
    return _OPTIONS.sub(r"\1***", text)


def _without_credentials(word: re.Match[str]) -> str:
    """The word; what follows the last @ is left out of the search, which stays linear so."""
    head, at, tail = word[0].rpartition("@")
    return _CREDENTIALS.sub(r"\1:***@", head + at) + tail
