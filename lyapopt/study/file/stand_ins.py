"""What stands in for a wrong part of a search space, so that the rest can be checked as well.

Without it the mistakes of one entry would be told one at a time: an entry without a sound `low`
has no bounds to check, and a list with one wrong choice no choices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from lyapopt.study.file.document import Path, Plain, Report, without
from lyapopt.study.file.entry_types import meant_type

__all__ = ["with_stand_ins"]


def with_stand_ins(
    data: dict[str, Plain], paths: Iterable[Path], report: Report
) -> dict[str, Plain]:
    """A copy of the data without what is wrong; entries of the search space keep what they need.

    Args:
        data: the study as it is to be validated.
        paths: of what is wrong or missing, all known to the report, which therefore drops what the
            checks find wrong with the stand-ins.
        report: the mistakes.
    """
    paths = list(paths)
    in_space = [path for path in paths if path[0] == "search_space" and len(path) > 1]
    copy = without(data, [_prunable(path) for path in paths if path not in in_space])
    for path in paths:
        trials = copy.get("enqueue")
        if path[0] == "enqueue" and len(path) == 2 and isinstance(trials, list):
            trials[int(path[1])] = {}
    # Items of lists become null; a condition on several values is left out whole.
    copy = without(copy, [path if path[2] != "when" else path[:4] for path in in_space if path[2:]])
    space = copy.get("search_space")
    if isinstance(space, dict):
        for name in {str(path[1]) for path in in_space}:
            entry = _completed(name, space.pop(name, None), report)
            if entry is not None:
                space[name] = entry
    return copy


def _prunable(path: Path) -> Path:
    """The largest part of a path that does not go into a list: lists are left out whole.

    Of an enqueued trial only the wrong parameter is left out.
    """
    if path[0] == "enqueue":
        return path[:3]
    for end, part in enumerate(path):
        if isinstance(part, int):
            return path[:end]
    return path


def _completed(name: str, entry: Plain, report: Report) -> Plain:
    """The entry with all that its type needs; None if nothing is left of it to check."""
    if ("search_space", name) in report.broken:
        return None
    if isinstance(entry, list):
        return entry
    named = meant_type(("search_space", name), report.document)
    if not isinstance(entry, dict) or named is None:
        return None
    entry = {**entry, "type": named}
    if named == "categorical":
        return entry if isinstance(entry.get("choices"), list) else {**entry, "choices": [None]}
    if named != "seed":
        low, high = entry.get("low"), entry.get("high")
        stand_in = low if _fits(low, named) else high if _fits(high, named) else 1
        entry = {"low": stand_in, "high": stand_in, **entry}
    return entry


def _fits(bound: Plain, parameter_type: str) -> bool:
    if isinstance(bound, bool) or not isinstance(
        bound, int if parameter_type == "int" else int | float
    ):
        return False
    return math.isfinite(bound) and abs(bound) < 2**63
