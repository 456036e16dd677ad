"""What is stored and cannot be read back: it is said, and neither a crash nor a silence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from lyapopt.store.errors import DamagedDataError, StoreError

__all__ = ["UNREADABLE", "DamagedDataWarning", "decoding", "in_words", "warn_of"]

_SHOWN: Final = 5
UNREADABLE: Final = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    MemoryError,
    RecursionError,
)
"""What Python and numpy raise of values that are not what they should be."""


class DamagedDataWarning(UserWarning):
    """Rows that are missing, or cannot be read, were left out of a table."""


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Raise whatever goes wrong with stored values in the body as `DamagedDataError`.

    Args:
        what: What is being read, for the message.
    """
    try:
        yield
    except StoreError:
        raise
    except UNREADABLE as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise DamagedDataError(f"{what} cannot be read: {text[:200]}") from error


def in_words(damage: Sequence[str]) -> str:
    """Several pieces of damage in one text: the first few, and how many more there are."""
    more = len(damage) - _SHOWN
    return "; ".join(damage[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def warn_of(where: str, damage: Sequence[str]) -> None:
    """Warn that tables lack what is damaged, if anything is.

    Args:
        where: The database.
        damage: A text for each thing that is missing or cannot be read.
    """
    if damage:
        advice = "The rest is in the table. All of it: lyapopt storage doctor --deep"
        text = f"{where}: {in_words(damage)}. {advice}"
        warnings.warn(text, DamagedDataWarning, stacklevel=3)
