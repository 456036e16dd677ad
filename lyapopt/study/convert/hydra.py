"""A configuration of Hydra with its Optuna sweeper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lyapopt.study.convert.carried import (
    Converted,
    note_rest,
    put,
    range_entry,
    registered,
    set_direction,
    set_sampler,
)
from lyapopt.study.convert.hydra_sweeps import hydra_sweep
from lyapopt.study.file.document import Source
from lyapopt.study.file.notations import foreign_notation
from lyapopt.study.file.reading import parse_yaml

__all__ = ["from_hydra"]

_GROUPS = ("hydra/sweeper/sampler", "hydra/sweeper/pruner")


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
    chosen = _chosen(data.get("defaults"))
    name, arguments = _class(sweeper.get("sampler"))
    set_sampler(found, "sampler", name or chosen.get("sampler"))
    if isinstance(arguments.get("seed"), int):
        found.settings["seed"] = arguments["seed"]
    found.left += [
        f"sampler.{key}: write it as sampler: {{name: ..., ...}}"
        for key in sorted({*arguments} - {"seed"})
    ]
    name, arguments = _class(sweeper.get("pruner"))
    _set_pruner(found, name or chosen.get("pruner"), arguments)
    known = {"params", "search_space", "direction", "n_trials", "n_jobs", "study_name", "storage"}
    note_rest(found, sweeper, known | {"sampler", "pruner", "_target_"}, {})
    note_rest(found, {k: v for k, v in data.items() if k not in ("hydra", "defaults")}, set(), {})
    return found


def _chosen(defaults: Any) -> dict[str, str]:
    """What `override hydra/sweeper/sampler: cmaes` of a list of defaults chooses, by its group."""
    found: dict[str, str] = {}
    for entry in defaults if isinstance(defaults, list) else ():
        for key, value in entry.items() if isinstance(entry, dict) else ():
            group = str(key).split()[-1].lstrip("/") if str(key).strip() else ""
            if group in _GROUPS and isinstance(value, str):
                found[group.rpartition("/")[2]] = value
    return found


def _class(section: Any) -> tuple[str | None, dict[str, Any]]:
    """The name that a sampler or pruner is chosen by, and its arguments."""
    if isinstance(section, str):
        return section.rpartition(".")[2], {}
    if not isinstance(section, dict):
        return None, {}
    arguments = {key: value for key, value in section.items() if not key.startswith("_")}
    return str(section.get("_target_", "")).rpartition(".")[2] or None, arguments


def _set_pruner(found: Converted, name: str | None, arguments: dict[str, Any]) -> None:
    """Of forks of the sweeper, which has no pruners of its own."""
    if name is None:
        return
    known = registered("pruner", name)
    if known is None:
        found.left.append(f"pruner: {name}: no pruner of Optuna's is called so; see pruner:")
        return
    found.settings["pruner"] = {"name": known, **arguments} if arguments else known


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
    sweep = hydra_sweep(name, entry, left)
    if sweep is not None:
        return sweep
    meant = foreign_notation(entry)
    if meant is None:
        return parse_yaml(entry, Source(name)).data
    if meant.startswith("for example"):
        left.append(f"{name}: {entry}: write low and high")
        return None
    return parse_yaml(meant, Source(name)).data
