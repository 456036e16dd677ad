"""A study and a trial in plain data: numbers, words, parameters ready to paste."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lyapopt.display import one_line
from lyapopt.figures.text import shown_interval, worded
from lyapopt.figures.theme import VERDICTS
from lyapopt.figures.trial_table import best_trial
from lyapopt.store.states import MEASURED, NUMBERS, VERDICT
from lyapopt.study.analysis.data import StudyData
from lyapopt.study.analysis.overview import Overview, StoredTrial
from lyapopt.yaml_text import yaml_lines

_LONGEST = 300
_MOST_DECISIONS = 50
_SHOWN_OF_FRONT = 5


def study_facts(data: StudyData, damage: Sequence[str] = ()) -> dict[str, Any]:
    """Where a study stands.

    Returns:
        `name`, `trials`, `states` and `verdicts` (name, count, colour), `best` (of several
        objectives the first few of the front), `spent` and `saved` (gradient evaluations; `None`
        where it is not known), `saving` (the latter in words), `directions`, `numbers` (of the
        trials, in order), `first` (the trial that a page begins with), `notes`, `trained` (for how
        long, in words, where the best were trained in full; else empty) and `promoted` (`None`, or
        `study`, `best` and `spent` of the study in which they were).
    """
    overview = data.overview
    numbers = [int(each) for each in data.trials["trial_number"]] if len(data.trials) else []
    return {
        "name": data.name,
        "trials": len(numbers),
        "states": _counted(overview.states),
        "verdicts": _counted(overview.verdicts),
        "best": [_best(trial) for trial in overview.best[:_SHOWN_OF_FRONT]],
        "front": len(overview.best),
        "spent": overview.gradient_evaluations,
        "saved": overview.saved,
        "saving": overview.saved_in_words,
        "directions": list(data.directions),
        "numbers": numbers,
        "first": best_trial(data.trials),
        "trained": trained_in_words(data),
        "promoted": None if data.promoted is None else _promoted(data.promoted.overview),
        "notes": [*_notes(data, overview), *(one_line(each, _LONGEST) for each in damage)],
    }


def trial_facts(data: StudyData, number: int) -> dict[str, Any] | None:
    """All that is known of one trial; `None` if there is none of that number."""
    one = data.only([number])
    trial = one.trial(number)
    if trial is None:
        return None
    low, high = trial.interval or (math.nan, math.nan)
    exponent = math.nan if trial.exponent is None else trial.exponent
    return {
        "number": number,
        "state": trial.state,
        "verdict": trial.verdict,
        "colour": VERDICTS.get(trial.verdict or ""),
        "facts": [[name, one_line(text, _LONGEST)] for name, text in (
            ("value", ", ".join(f"{value:.6g}" for value in trial.values)),
            ("exponent", f"{shown_interval(exponent, low, high)} nats per step"
             if trial.exponent is not None
             else trial.without_exponent if trial.verdict == "slow" else ""),
            ("measured", trial.measured or ""),
            ("reason", trial.reason or ""),
            ("cost", f"{trial.gradient_evaluations:,.0f} gradient evaluations"
             if trial.gradient_evaluations else ""),
            ("started", "" if trial.started is None else f"{trial.started:%Y-%m-%d %H:%M:%S}"),
            ("took", _duration(trial)),
        ) if text],
        "params": [[one_line(n, 100), one_line(worded(v), _LONGEST)]
                   for n, v in trial.params.items()],
        "yaml": "\n".join(yaml_lines(trial.params)) if trial.params else "",
        "python": repr(trial.params),
        "attributes": [[one_line(n, 100), one_line(worded(v), _LONGEST)]
                       for n, v in trial.attributes.items() if _is_of_user(n)],
        "decisions": _decisions(one),
    }  # fmt: skip


def _counted(counts: dict[str, int]) -> list[dict[str, Any]]:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [
        {"name": one_line(name, 40), "count": n, "colour": VERDICTS.get(name)}
        for name, n in ordered
    ]


def _best(trial: StoredTrial) -> dict[str, Any]:
    values = ", ".join(f"{value:.5g}" for value in trial.values)
    return {"number": trial.number, "value": values}


def trained_in_words(data: StudyData) -> str:
    """For how long the trials of a study were trained whose best were trained in full; else ""."""
    full = data.promoted
    if full is None:
        return ""
    some, every = _most_steps(data), _most_steps(full)
    if not some or not every:
        return "trained in part"
    return f"trained for {some:,} of {every:,} steps"


def _most_steps(data: StudyData) -> int:
    runs = data.runs if data.is_recorded else None
    return 0 if runs is None or runs.empty else int(runs["steps"].max())


def _promoted(full: Overview) -> dict[str, Any]:
    return {
        "study": full.study_name,
        "best": _best(full.best[0]) if full.best else None,
        "spent": full.gradient_evaluations,
    }


def _notes(data: StudyData, overview: Overview) -> list[str]:
    """What a reader may miss, and why it is not there."""
    if not overview.states:
        return ["This study has no trials yet; the page follows it."]
    notes = []
    if not data.is_recorded:
        notes.append(
            "Nothing was recorded beside Optuna's own data: no curves, separations or decisions. "
            "Studies that lyapopt runs record them; so does lyapopt.watch."
        )
    elif not overview.verdicts:
        notes.append("No trial of this study has been measured: there is no exponent yet.")
    if not overview.best:
        notes.append("No trial is complete yet, so there is no best one.")
    return notes


def _decisions(one: StudyData) -> list[dict[str, Any]]:
    if not one.is_recorded:
        return []
    rows = one.decisions.head(_MOST_DECISIONS).to_dict(orient="records")
    return [
        {
            "rule": one_line(row.get("rule") or "", 60),
            "step": worded(row.get("step")),
            "pruned": bool(row.get("pruned")),
            "reason": one_line(row.get("reason") or "", _LONGEST),
        }
        for row in rows
    ]


def _duration(trial: StoredTrial) -> str:
    if trial.started is None or trial.finished is None:
        return ""
    return f"{(trial.finished - trial.started).total_seconds():.3g} s"


def _is_of_user(name: str) -> bool:
    return name not in (*NUMBERS, VERDICT, MEASURED) and not name.startswith("lyapopt:")
