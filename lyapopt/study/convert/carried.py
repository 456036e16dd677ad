"""What is read of another tool's file, and what is not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Converted", "note_rest", "put", "range_entry", "set_direction", "set_sampler"]

Entry = dict[str, Any]

_SAMPLERS = {
    "grid": "grid",
    "random": "random",
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
    "TPESampler": "tpe",
    "RandomSampler": "random",
    "GridSampler": "grid",
    "CmaEsSampler": "cmaes",
    "NSGAIISampler": "nsgaii",
    "QMCSampler": "qmc",
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
    elif step is not None and step != 1:
        entry["step"] = step
    return entry


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


def set_sampler(found: Converted, key: str, name: Any) -> None:
    """The sampler of Optuna's that stands nearest to another tool's method."""
    if name is None:
        return
    known = _SAMPLERS.get(str(name))
    if known is None:
        found.left.append(f"{key}: {name}: no sampler of Optuna's is called so; see sampler:")
    else:
        endless = [n for n, e in found.space.items() if isinstance(e, dict) and "step" not in e]
        endless = [n for n in endless if found.space[n]["type"] != "int"]
        if known == "grid" and endless:
            found.left.append(f"{key}: {name}: a grid of {endless[0]} has no end: random instead")
            known = "random"
        found.settings["sampler"] = known
        if str(name) in ("Anneal", "SMAC", "Hyperband", "BOHB"):
            found.left.append(f"{key}: {name}: tpe is in its place")


def note_rest(
    found: Converted, data: Mapping[str, Any], known: Iterable[str], advice: Mapping[str, str]
) -> None:
    """Note the keys that nothing here has read, with what to do where that is known."""
    for name in data:
        if name not in {*known}:
            what = advice.get(name, "no counterpart here")
            found.left.append(f"{name}: {what}")
