"""A sweep of Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lyapopt.study.convert.carried import (
    Converted,
    Entry,
    note_rest,
    put,
    range_entry,
    rounded_entry,
    set_direction,
    set_sampler,
)

__all__ = ["from_wandb"]


def from_wandb(data: Mapping[str, Any]) -> Converted:
    """A sweep, its nested parameters made flat."""
    found = Converted("Weights & Biases")
    for name, entry in _flat_wandb(data["parameters"], found.left):
        put(found, name, _wandb_entry(name, entry, found.left))
    metric = data.get("metric")
    if isinstance(metric, dict):
        set_direction(found, metric.get("goal"))
        left = "is the loss on Training(validation=...), or with value: metric its metric"
        found.left += [
            f"metric.{key}: no counterpart" for key in sorted({*metric} - {"name", "goal"})
        ]
        found.left.append(f"metric.name: {metric.get('name')}: a trial's value {left}")
    program = data.get("program")
    if isinstance(program, str):
        found.module = Path(program).stem
    if isinstance(data.get("run_cap"), int):
        found.settings["n_trials"] = data["run_cap"]
    set_sampler(found, "method", data.get("method"))
    stopping = data.get("early_terminate")
    if isinstance(stopping, dict):
        arguments: Entry = {"name": "hyperband"}
        if isinstance(stopping.get("min_iter"), int):
            arguments["min_resource"] = stopping["min_iter"]
        if isinstance(stopping.get("eta"), int):
            arguments["reduction_factor"] = stopping["eta"]
        found.settings["pruner"] = arguments
        others = sorted({*stopping} - {"type", "min_iter", "eta"})
        found.left += [f"early_terminate.{name}: no counterpart" for name in others]
    known = {"parameters", "metric", "run_cap", "method", "early_terminate", "name"}
    note_rest(
        found,
        data,
        known,
        {"program": "task.build is to be a function in it, build(params) -> lyapopt.Training"},
    )
    if isinstance(data.get("name"), str):
        found.settings["study_name"] = data["name"]
    return found


def _flat_wandb(
    entries: Mapping[str, Any], left: list[str], prefix: str = ""
) -> Iterable[tuple[str, Any]]:
    for name, entry in entries.items():
        if isinstance(entry, dict) and isinstance(entry.get("parameters"), dict):
            left.append(f"{prefix}{name}: nested parameters have a dot in their names now")
            yield from _flat_wandb(entry["parameters"], left, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", entry


def _wandb_entry(name: str, entry: Any, left: list[str]) -> Any:
    if not isinstance(entry, dict):
        return entry
    if "value" in entry:
        return entry["value"]
    if "values" in entry:
        if "probabilities" in entry:
            left.append(f"{name}: probabilities of its values: all are drawn alike at first")
        return list(entry["values"])
    low, high = entry.get("min"), entry.get("max")
    kind = str(entry.get("distribution", ""))
    if "normal" in kind or "inv_" in kind or low is None or high is None:
        left.append(f"{name}: {kind or 'no bounds'}: write low and high")
        return None
    if kind in ("log_uniform", "q_log_uniform"):  # whose bounds are exponents of e
        left.append(f"{name}: its bounds were powers of e; check low and high")
        low, high = 2.718281828459045**low, 2.718281828459045**high
    whole = kind.startswith("int") or (not kind and isinstance(low, int) and isinstance(high, int))
    if kind.startswith("q_"):
        return rounded_entry(name, low, high, "log" in kind, entry.get("q", 1), left)
    if "q" in entry:
        left.append(f"{name}: q: only distributions of q_ round to it")
    return range_entry(low, high, "log" in kind, whole, None)
