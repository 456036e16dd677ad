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
