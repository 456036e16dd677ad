"""A search space or an experiment of NNI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lyapopt.study.convert.carried import (
    Converted,
    note_rest,
    put,
    range_entry,
    rounded_entry,
    set_direction,
    set_sampler,
)

__all__ = ["from_nni", "is_nni"]


def is_nni(value: Any) -> bool:
    """Whether this is an entry of a search space of NNI."""
    return isinstance(value, dict) and "_type" in value


def from_nni(data: Mapping[str, Any], space: Mapping[str, Any]) -> Converted:
    """An experiment, and its search space, which may be in a file of its own."""
    found = Converted("NNI")
    for name, entry in space.items():
        put(found, name, _nni_entry(name, entry, found.left))
    tuner = data.get("tuner")
    if isinstance(tuner, dict):
        set_sampler(found, "tuner.name", tuner.get("name", tuner.get("builtinTunerName")))
        arguments = _arguments(tuner)
        set_direction(found, arguments.get("optimize_mode"))
        others = [name for name in arguments if name != "optimize_mode"]
        found.left += [f"tuner.{name}: write it as sampler: {{name: ..., ...}}" for name in others]
    if isinstance(data.get("assessor"), dict):
        _set_pruner(found, data["assessor"])
    number = data.get("maxTrialNumber", data.get("max_trial_number"))
    if isinstance(number, int):
        found.settings["n_trials"] = number
    duration = data.get("maxExperimentDuration")
    if isinstance(duration, str) and re.fullmatch(r"\d+[smhd]", duration):
        found.settings["timeout"] = duration
    if isinstance(data.get("trialConcurrency"), int):
        found.settings["workers"] = data["trialConcurrency"]
    if isinstance(data.get("experimentName"), str):
        found.settings["study_name"] = data["experimentName"]
    known = {"searchSpace", "search_space", "searchSpaceFile", "maxTrialNumber"}
    known |= {name for name in ("tuner", "assessor") if isinstance(data.get(name), dict)}
    known |= {"max_trial_number", "maxExperimentDuration", "trialConcurrency", "experimentName"}
    advice = "task: {build: your_module:build}, which returns a lyapopt.Training"
    note_rest(found, data, known, {"trialCommand": advice, "trial_command": advice})
    return found


def _arguments(section: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = section.get("classArgs")
    return arguments if isinstance(arguments, dict) else {}


def _set_pruner(found: Converted, assessor: Mapping[str, Any]) -> None:
    """Of NNI's assessors one is a pruner of Optuna's, too."""
    name = assessor.get("name", assessor.get("builtinAssessorName"))
    if name != "Medianstop":
        found.left.append(f"assessor: {name}: no pruner of Optuna's is like it; see pruner:")
        return
    found.settings["pruner"] = "median"
    advice = {
        "start_step": "write pruner: {name: median, n_warmup_steps: ...}, in steps of the training"
    }
    note_rest(found, _arguments(assessor), {"optimize_mode"}, advice)


def _nni_entry(name: str, entry: Any, left: list[str]) -> Any:
    if not is_nni(entry):
        left.append(f"{name}: has no _type")
        return None
    kind, value = str(entry["_type"]), entry.get("_value")
    if not isinstance(value, list) or not value:
        left.append(f"{name}: {kind} has no list of values")
        return None
    if kind == "choice":
        if any(isinstance(item, dict | list) for item in value):
            left.append(
                f"{name}: choices with parameters of their own: write when: {{{name}: ...}}"
            )
            return [item.get("_name") for item in value if isinstance(item, dict)] or None
        return list(value)
    if kind == "randint" and len(value) == 2:
        return range_entry(value[0], value[1] - 1, False, True, None)  # which ends before its end
    if kind in ("uniform", "loguniform") and len(value) == 2:
        return range_entry(value[0], value[1], "log" in kind, False, None)
    if kind in ("quniform", "qloguniform") and len(value) == 3:
        return rounded_entry(name, value[0], value[1], "log" in kind, value[2], left)
    left.append(f"{name}: {kind}: write low and high")
    return None
