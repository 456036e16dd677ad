"""A configuration of Hydra with its Optuna sweeper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lyapopt.study.convert.carried import (
    Converted,
    note_rest,
    put,
    range_entry,
    set_direction,
    set_sampler,
)
from lyapopt.study.file.document import Source
from lyapopt.study.file.notations import foreign_notation
from lyapopt.study.file.reading import parse_yaml

__all__ = ["from_hydra"]


def from_hydra(sweeper: Any, data: Mapping[str, Any]) -> Converted:
    """The configuration of the sweeper, and of the rest only what has no place."""
    found = Converted("Hydra with its Optuna sweeper")
    params = sweeper.get("params", sweeper.get("search_space")) if isinstance(sweeper, dict) else {}
    for name, entry in params.items() if isinstance(params, dict) else ():
        put(found, name, _hydra_entry(name, entry, found.left))
    direction = sweeper.get("direction")
    if isinstance(direction, list) and len(direction) > 1:
        found.left.append("direction: a task has one value; several need objective: {call: ...}")
    else:
        set_direction(found, direction[0] if isinstance(direction, list) else direction)
    if isinstance(sweeper.get("n_trials"), int):
        found.settings["n_trials"] = sweeper["n_trials"]
    if isinstance(sweeper.get("n_jobs"), int):
        found.settings["workers"] = sweeper["n_jobs"]
    if isinstance(sweeper.get("study_name"), str):
        found.settings["study_name"] = sweeper["study_name"]
    if isinstance(storage := sweeper.get("storage"), str) and "://" in storage:
        found.settings["storage"] = storage
    sampler = sweeper.get("sampler")
    if isinstance(sampler, dict):
        set_sampler(found, "sampler", str(sampler.get("_target_", "")).rpartition(".")[2])
        if isinstance(sampler.get("seed"), int):
            found.settings["seed"] = sampler["seed"]
        others = sorted({*sampler} - {"_target_", "seed"})
        found.left += [
            f"sampler.{name}: write it as sampler: {{name: ..., ...}}" for name in others
        ]
    known = {"params", "search_space", "direction", "n_trials", "n_jobs", "study_name", "storage"}
    note_rest(found, sweeper, known | {"sampler", "_target_"}, {})
    note_rest(found, {k: v for k, v in data.items() if k not in ("hydra", "defaults")}, set(), {})
    return found


def _hydra_entry(name: str, entry: Any, left: list[str]) -> Any:
    if isinstance(entry, dict):
        low, high, kind = entry.get("low"), entry.get("high"), entry.get("type")
        if kind == "categorical" or "choices" in entry:
            return list(entry.get("choices", ()))
        if low is None or high is None:
            left.append(f"{name}: write low and high")
            return None
        return range_entry(low, high, bool(entry.get("log")), kind == "int", entry.get("step"))
    if not isinstance(entry, str):
        return entry
    meant = foreign_notation(entry)
    if meant is None:
        return parse_yaml(entry, Source(name)).data
    if meant.startswith("for example"):
        left.append(f"{name}: {entry}: write low and high")
        return None
    return parse_yaml(meant, Source(name)).data
