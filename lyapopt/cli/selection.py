"""`--where` and `--sort`: which trials, and in which order."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

from lyapopt.cli.fields import Fields
from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.store.trials import StoredTrial

__all__ = ["filtered", "ordered"]

_EXAMPLE = "for example --where 'verdict == \"edge\" and lr < 0.1'"


def filtered(trials: Sequence[StoredTrial], where: str, fields: Fields) -> list[StoredTrial]:
    """The trials for which an expression holds, as `pandas.DataFrame.eval` has them.

    Args:
        trials: Any.
        where: Comparisons of fields, with `and`, `or`, `not` and brackets.
        fields: Those of the study.

    Raises:
        UserError: If it is no such expression, with what to write.

    Example:
        >>> trials = [StoredTrial(n, "complete", (n / 2,), {"lr": 0.1}) for n in range(3)]
        >>> [trial.number for trial in filtered(trials, "value > 0 and lr == 0.1", Fields(trials))]
        [1, 2]
    """
    if re.search(r"(?<![=<>!])=(?!=)", where):
        raise UserError(f"--where compares with ==, not =; {_EXAMPLE}")
    if "@" in where or "__" in where:
        raise UserError(f"--where knows columns, numbers and texts; {_EXAMPLE}")
    if not trials:
        return []
    import pandas as pd  # here: half a second that other options do not need

    rows = [fields.every(trial) for trial in trials]
    frame = pd.DataFrame(rows).apply(_as_column)
    frame.index = pd.RangeIndex(len(trials))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mask = frame.eval(where, engine="python")
    except Exception as error:  # of pandas, Python's parser, or a comparison
        raise UserError(_refusal(where, error, frame, fields)) from error
    if not isinstance(mask, pd.Series) or not pd.api.types.is_bool_dtype(mask):
        raise UserError(f"--where {one_line(where)} is no comparison; {_EXAMPLE}")
    return [trial for trial, holds in zip(trials, mask, strict=True) if holds]


def _as_column(column: Any) -> Any:
    """Numbers as numbers, so that a missing one is smaller and larger than nothing."""
    import pandas as pd

    known = column.dropna()
    numeric = known.map(lambda v: isinstance(v, int | float) and not isinstance(v, bool)).all()
    return pd.to_numeric(column) if numeric else column


def _refusal(where: str, error: Exception, frame: Any, fields: Fields) -> str:
    unknown = re.search(r"name '([^']*)' is not defined", str(error))
    if unknown is None:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"--where {one_line(where)}: {one_line(first)}; {_EXAMPLE}"
    name = unknown[1]
    values = {v for column in frame for v in frame[column] if isinstance(v, str)}
    if name in values:
        return f'--where {one_line(where)}: a text is in quotes: "{name}"; {_EXAMPLE}'
    fields.check(name, "--where")  # which refuses it with the nearest name
    return f"--where {one_line(where)}: {one_line(error)}; {_EXAMPLE}"


def ordered(trials: Sequence[StoredTrial], sort: str, fields: Fields) -> list[StoredTrial]:
    """Trials sorted by fields; those that lack one come last.

    Args:
        trials: Any.
        sort: Names with commas between them, the first first; one with `-` is descending.
        fields: Those of the study.

    Raises:
        UserError: If there is no such field.

    Example:
        >>> trials = [StoredTrial(n, "complete", (n % 2,)) for n in range(3)]
        >>> [trial.number for trial in ordered(trials, "-value,-trial", Fields(trials))]
        [1, 2, 0]
    """
    names = [name.strip() for name in sort.split(",") if name.strip()]
    if not names:
        raise UserError(f"--sort is empty; there are {', '.join(fields.usual)}")
    found = list(trials)
    for name in reversed(names):
        descends, bare = name.startswith("-"), name.removeprefix("-")
        fields.check(bare, "--sort")
        there = [trial for trial in found if not _is_missing(fields.get(bare, trial))]
        missing = [trial for trial in found if _is_missing(fields.get(bare, trial))]
        there.sort(key=lambda trial: _key(fields.get(bare, trial)), reverse=descends)
        found = [*there, *missing]
    return found


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # NaN


def _key(value: Any) -> tuple[int, Any]:
    """Numbers before texts, whatever a choice holds."""
    return (0, value) if isinstance(value, int | float) else (1, str(value))
