"""What is read of another tool's file, and what is not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lyapopt.registry import REGISTRY, Role

__all__ = [
    "Converted",
    "note_rest",
    "put",
    "range_entry",
    "registered",
    "rounded_entry",
    "set_direction",
    "set_sampler",
]

Entry = dict[str, Any]

_SAMPLERS = {
    "bayes": "tpe",
    "TPE": "tpe",
    "Random": "random",
    "GridSearch": "grid",
    "GPTuner": "gp",
    "Evolution": "nsgaii",
    "Anneal": "tpe",
    "SMAC": "tpe",
    "Hyperband": "tpe",
    "BOHB": "tpe",
    "motpe": "tpe",
    "MOTPESampler": "tpe",
}


@dataclass
class Converted:
    """What became of another tool's file.

    Attributes:
        tool: Whose it is.
        space: Entries of the search space, by name.
        settings: Other keys of the study file.
        left: What could not be carried over, a line each.
        module: Where the user's `build` is expected.
    """

    tool: str
    space: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    module: str = "own_network"


def range_entry(low: Any, high: Any, log: bool, whole: bool, step: Any) -> Entry:
    """A range: `log` goes before `step`, which cannot be had together."""
    entry: Entry = {"type": "int" if whole else "float", "low": low, "high": high}
    if log:
        entry["log"] = True
    elif step is not None and not (whole and step == 1):
        entry["step"] = step
    return entry


def rounded_entry(name: str, low: Any, high: Any, log: bool, q: Any, left: list[str]) -> Entry:
    """A range whose values were rounded to multiples of `q`, as far as a step can say it."""
    if log:
        left.append(f"{name}: q: {q}: a step cannot be had with log: true")
    elif not math.isclose(low / q, round(low / q), abs_tol=1e-9):
        left.append(f"{name}: its values were multiples of {q}: now they are steps from low on")
    return range_entry(low, high, log, False, q)


def put(found: Converted, name: str, entry: Any) -> None:
    """Take an entry, one that only seems to be a number as a seed; `None` was said in `left`."""
    if entry is None:
        return
    is_seed = name == "seed" or name.endswith("_seed")
    if is_seed and isinstance(entry, list | dict):
        found.left.append(f"{name}: a seed has no order: it is {{type: seed}} now")
        entry = {"type": "seed"}
    if isinstance(entry, list):
        entry = list(dict.fromkeys(json.dumps(item) for item in entry))
        entry = [json.loads(item) for item in entry]
    found.space[name] = entry


def set_direction(found: Converted, goal: Any) -> None:
    """What is maximised is a metric: a task's loss is minimised."""
    if goal == "maximize":
        found.settings |= {"direction": "maximize", "value": "metric"}
        found.left.append("value: metric needs Training(metric=...) of your build")


def registered(role: Role, name: str) -> str | None:
    """What a study file calls a class, by that name, another one or that of the class.

    Args:
        role: `sampler` or `pruner`.
        name: `hyperband`, or `HyperbandPruner`.

    Example:
        >>> registered("pruner", "SuccessiveHalvingPruner"), registered("sampler", "best")
        ('successive-halving', None)
    """
    for row in REGISTRY[role]:
        if name in (row.name, row.name.replace("-", ""), row.class_name, *row.aliases):
            return row.name
    return None


def set_sampler(found: Converted, key: str, name: Any) -> None:
    """The sampler of Optuna's that stands nearest to another tool's method."""
    if name is None:
        return
    known = _SAMPLERS.get(str(name)) or registered("sampler", str(name))
    if known is None:
        found.left.append(f"{key}: {name}: no sampler of Optuna's is called so; see sampler:")
    else:
        endless = [n for n, e in found.space.items() if isinstance(e, dict) and "step" not in e]
        endless = [n for n in endless if found.space[n]["type"] != "int"]
        if known == "grid" and endless:
            found.left.append(f"{key}: {name}: a grid of {endless[0]} has no end: random instead")
            known = "random"
        found.settings["sampler"] = known
        if str(name) in ("Anneal", "SMAC", "Hyperband", "BOHB", "motpe", "MOTPESampler"):
            found.left.append(f"{key}: {name}: tpe is in its place")


def note_rest(
    found: Converted, data: Mapping[str, Any], known: Iterable[str], advice: Mapping[str, str]
) -> None:
    """Note the keys that nothing here has read, with what to do where that is known."""
    for name in data:
        if name not in {*known}:
            what = advice.get(name, "no counterpart here")
            found.left.append(f"{name}: {what}")
