"""What may wait in memory: writes that every database takes, and gives back as they were.

All else goes to Optuna's storage at once, which then answers as it always does: it refuses a key
that is too long, and makes of NaN what the database makes of it.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable
from typing import Any, Final, TypeGuard

from optuna.trial import FrozenTrial

from lyapopt.store._optuna import LONGEST_KEY

_UNCHANGING: Final = (str, int, float, type(None))
_LARGEST_STEP: Final = 2**31 - 1
_LARGEST_INTEGER: Final = 2**53  # beyond it not every integer is a float
_LONGEST_TEXT: Final = 65_535  # bytes of MySQL's TEXT


def copied(attributes: dict[str, Any]) -> dict[str, Any]:
    """A copy that shares nothing that can be changed; most attributes are numbers and texts.

    Example:
        >>> attributes = {"verdict": "edge", "curve": [1.0]}
        >>> copied(attributes) == attributes, copied(attributes)["curve"] is attributes["curve"]
        (True, False)
    """
    if all(isinstance(value, _UNCHANGING) for value in attributes.values()):
        return dict(attributes)
    return copy.deepcopy(attributes)


def is_number(value: object, *, finite: bool = True) -> TypeGuard[float]:
    """Whether a value is a number that a column of floats holds, or a kind of infinity or NaN."""
    if isinstance(value, int):
        return abs(value) <= _LARGEST_INTEGER
    return isinstance(value, float) and (not finite or math.isfinite(value))


def is_step(step: object) -> TypeGuard[int]:
    """Whether a step fits a column of integers."""
    return isinstance(step, int) and abs(step) <= _LARGEST_STEP


def is_key(key: object, others: Iterable[str], dialect: str) -> TypeGuard[str]:
    """Whether a name is the same in every database.

    Args:
        key: The name.
        others: Names in the same trial. MySQL's usual collations take `Loss`, `loss` and `loss `
            for one.
        dialect: Name of SQLAlchemy's dialect.
    """
    if not isinstance(key, str) or len(key) > LONGEST_KEY or not key.isascii() or "\0" in key:
        return False
    if dialect not in ("mysql", "mariadb"):
        return True
    folded = key.lower().rstrip()
    return all(other == key or other.lower().rstrip() != folded for other in others)


def is_text(text: str, dialect: str) -> bool:
    """Whether a JSON text fits its column."""
    return dialect not in ("mysql", "mariadb") or len(text) <= _LONGEST_TEXT


def is_plain(trial: FrozenTrial, dialect: str) -> bool:
    """Whether all of a trial may be written in bulk."""
    names = (trial.params, trial.user_attrs, trial.system_attrs)
    values: tuple[Any, ...] = tuple(trial.values or ())
    internal = [trial.distributions[n].to_internal_repr(v) for n, v in trial.params.items()]
    reports = trial.intermediate_values
    return (
        all(is_key(key, each, dialect) for each in names for key in each)
        and all(
            is_text(json.dumps(value), dialect)
            for attributes in names[1:]
            for value in attributes.values()
        )
        and all(map(is_number, internal))
        and all(is_number(value, finite=False) and not math.isnan(value) for value in values)
        and all(is_step(step) and is_number(reports[step], finite=False) for step in reports)
    )
