"""`auto`: what a study file leaves open is chosen from its task, space and budget.

The choice is a function of the file and of the length of a training, and is written in the words of
a study file, so that it can be shown, stored beside the study and pasted. It fills only keys that
the file leaves open (`sampler` and `pruner` where they are missing or `auto`; with them `probe`;
`rank_at`, `promote`, `n_trials` and `trials_at_once` where the sampler is open and none of the
first two is given),
and never looks at `timeout`.

What is chosen is what did best on the held-in cases of `lyapopt bench search` and in `lyapopt bench
studies`. A budget of less than fifteen trainings goes to many candidates that are trained for an
eighth of a training and ranked, at rates that are steered to the edge of chaos and above; where
none can be steered they are pruned after the probe. A larger one, or a number of trials, goes to
TPE, whose trials are pruned after the probe and by the median later: after so few steps a median
tells nothing, so that it begins with the report after the probe's. After four slow or hot trials in
a row one passes, since a loss may stand on a plateau first. Trials of a group do not see
each other's values: each is drawn as if those beside it had been bad (`constant_liar`), and under
a budget of less than fifty trainings they train in pairs, which costs time and finds more for the
same gradients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from lyapopt.settings import ProbeSettings
from lyapopt.space import CategoricalParameter, FloatParameter, Parameter, SeedParameter
from lyapopt.study.file.classes import ClassSpec, resolve_class
from lyapopt.study.file.document import Document, Report
from lyapopt.study.file.model import AUTO, StudyFile
from lyapopt.study.file.task_section import BuiltinTask

__all__ = ["Choices", "choose", "follows_budget", "grown", "is_open", "steps_of"]

PART: Final = 1 / 8
"""Share of a training after which candidates are ranked."""
SHARE: Final = 0.7
"""Trainings in full, as a share of the budget in full trainings."""
MOST: Final = 15
"""Budget in full trainings from which on nothing is ranked: TPE has learned by then."""
_MANY: Final = 50
"""Budget in full trainings from which on large groups cost little: most trials see many others."""
_PAIR: Final = 2
_FEWEST = 4
"""Candidates without which a ranking is none."""
_STEERABLE_DECADES = 1.5
_STEERING = 80
"""Gradient evaluations that finding an edge takes."""
_HORIZON = 10
_PRUNER = "lyapunov"
_PATIENCE = 4
"""Of the pruner where nothing is ranked: four trainings show whether slow trials train."""
_STEERING_SAMPLER: Final = {
    "name": "edge-of-chaos",
    "steer": "lr",
    "rates_at_once": 1,
    "reuse": 0.5,
    "base": "random",
}
_TPE: Final = {"name": "tpe", "constant_liar": True}


@dataclass(frozen=True)
class Choices:
    """What was chosen for a study.

    Attributes:
        values: Keys of a study file that were open, with values in its words.
        reasons: Why, in a line each.
    """

    values: Mapping[str, Any]
    reasons: tuple[str, ...] = ()

    def open_in(self, file: StudyFile) -> Choices:
        """What of it the file leaves open now."""
        values = {
            name: value
            for name, value in self.values.items()
            if getattr(file, name) == AUTO or name not in file.model_fields_set
        }
        return replace(self, values=values)

    def applied_to(self, file: StudyFile) -> StudyFile:
        """The file with what it leaves open filled in; what it says itself stays."""
        update = dict(self.open_in(file).values)
        for role in ("sampler", "pruner"):
            if role in update:
                update[role] = _resolved(role, update[role])
        if "probe" in update:
            update["probe"] = ProbeSettings(**update["probe"])
        copy = file.model_copy(update=update)
        copy._chosen = self.values
        return copy


def is_open(file: StudyFile) -> bool:
    """Whether anything of the file is to be chosen."""
    return AUTO in (file.sampler, file.pruner)


def steps_of(file: StudyFile) -> int | None:
    """Steps of every training of a built-in task; `None` where the file does not say it."""
    if not isinstance(file.task, BuiltinTask) or "steps" in file.variables:
        return None
    steps = file.fixed_params().get("steps")
    return steps if isinstance(steps, int) else None


def choose(file: StudyFile, steps: int | None) -> Choices:
    """What is best for a study, as far as the benchmark says it.

    Args:
        file: A validated study file.
        steps: Length of a training, if that is known.

    Example:
        >>> from lyapopt.space import FloatParameter
        >>> from lyapopt.study.file import StudyFile
        >>> file = StudyFile(
        ...     storage="sqlite:///a.db",
        ...     study_name="a",
        ...     task={"name": "digits", "steps": 800},
        ...     search_space={"lr": FloatParameter(low=1e-4, high=1.0, log=True)},
        ...     budget={"gradient_evaluations": 4000},
        ... )
        >>> chosen = choose(file, 800).values
        >>> chosen["n_trials"], chosen["rank_at"], chosen["promote"]
        (10, 100, 3)
    """
    values: dict[str, Any] = {}
    reasons: list[str] = []
    probe = _probe(file)
    if probe != file.probe:
        values["probe"] = {"horizon": probe.horizon, "neighbours": probe.neighbours}
    if file.sampler == AUTO:
        ranking = _ranking(file, steps, probe)
        values |= ranking | {"sampler": _sampler(file, is_ranked=bool(ranking))}
        if ranking:
            reasons.append(_why_ranked(file, ranking, steps))
        elif _trains_in_pairs(file, steps):
            values["trials_at_once"] = _PAIR
            reasons.append("trials_at_once: the budget is small, so that each pair learns from all")
        reasons += _why_sampled(values["sampler"])
    if file.pruner == AUTO:
        values["pruner"] = _pruner(file, values, probe.horizon)
        if values["pruner"] not in ("nop", "median"):
            reasons.append(
                f"pruner: whatever has not begun to learn after {probe.horizon} steps, or is about "
                "to blow up, is stopped there"
            )
    return Choices(values, tuple(reasons))


def _probe(file: StudyFile) -> ProbeSettings:
    """As in the benchmark: ten steps with one neighbour, where the file says nothing."""
    if "probe" in file.model_fields_set or not _is_trained_by_us(file):
        return file.probe
    return replace(file.probe, horizon=_HORIZON, neighbours=1)


def _is_trained_by_us(file: StudyFile) -> bool:
    """Whether trials train a task for one value, with rates that do not begin at nothing."""
    warms_up = "warmup_steps" in file.variables or file.fixed_params().get("warmup_steps")
    return file.task is not None and file.value in ("loss", "metric") and not warms_up


def _sampler(file: StudyFile, *, is_ranked: bool) -> str | dict[str, Any]:
    if is_ranked:
        return dict(_STEERING_SAMPLER) if _is_steerable(file) else "random"
    return dict(_TPE)


def _trains_in_pairs(file: StudyFile, steps: int | None) -> bool:
    """Whether a budget is so small that what large groups do not see is missed."""
    given = {"rank_at", "promote", "trials_at_once"} & file.model_fields_set
    if given or file.budget is None or steps is None:
        return False
    return file.budget.gradient_evaluations < _MANY * steps


def _why_sampled(sampler: str | dict[str, Any]) -> list[str]:
    """Why a sampler was chosen, in a line."""
    if sampler == "random":
        return []
    if sampler == _TPE:
        return ["sampler: where there are trials enough to learn from, TPE"]
    return ["sampler: lr spans decades, so that it is steered to the edge of chaos"]


def _is_steerable(file: StudyFile) -> bool:
    """Whether there is a learning rate that spans decades in every trial."""
    rate = file.variables.get("lr")
    return (
        isinstance(rate, FloatParameter)
        and rate.log
        and not rate.when
        and math.log10(rate.high / rate.low) >= _STEERABLE_DECADES
    )


def _ranking(file: StudyFile, steps: int | None, probe: ProbeSettings) -> dict[str, Any]:
    """`rank_at` and `promote`, and `n_trials` where only a budget says when to stop."""
    given = {"rank_at", "promote"} & file.model_fields_set
    if given or file.warm_start is not None or steps is None or not _is_trained_by_us(file):
        return {}
    rank_at = math.ceil(steps * PART)
    if rank_at < probe.horizon:
        return {}
    if file.budget is None:
        return {}
    trainings = file.budget.gradient_evaluations / steps
    affordable = _affordable(trainings, steps, rank_at, probe)
    count = affordable if file.n_trials is None else file.n_trials
    promote = _promoted(file, trainings, steps, rank_at, probe, count)
    if trainings >= MOST or not _FEWEST <= count <= affordable or promote < 1:
        return {}
    chosen = {"rank_at": rank_at, "promote": promote}
    return chosen if file.n_trials == count else chosen | {"n_trials": count}


def _affordable(trainings: float, steps: int, rank_at: int, probe: ProbeSettings) -> int:
    """How many candidates a budget of so many trainings has."""
    return math.floor(trainings * (1 - SHARE) / _candidate(steps, rank_at, probe))


def _promoted(
    file: StudyFile, trainings: float, steps: int, rank_at: int, probe: ProbeSettings, count: int
) -> int:
    """How many of `count` candidates the rest of the budget trains in full, at most."""
    steering = min(count, _searches(file)) * _STEERING / steps if _is_steerable(file) else 0.0
    left = trainings - count * _candidate(steps, rank_at, probe)
    # Steering mostly costs less than that, and the budget ends the trainings.
    return min(count, math.floor(left)) if left - steering >= 1 else 0


def _candidate(steps: int, rank_at: int, probe: ProbeSettings) -> float:
    """What one candidate costs, in trainings."""
    return (rank_at + probe.neighbours * probe.horizon) / steps


def grown(file: StudyFile, chosen: Choices, steps: int | None) -> Choices:
    """What was chosen for a ranking, with as many trials as a budget that has grown since pays for.

    How long candidates are trained stays as it was: they are ranked with each other.

    Args:
        file: The study file as it is now.
        chosen: What was chosen when its study began.
        steps: Length of a training, if that is known.
    """
    values = chosen.values
    if steps is None or file.budget is None or not follows_budget(file, chosen):
        return chosen
    trainings = file.budget.gradient_evaluations / steps
    rank_at, probe = values["rank_at"], replace(file.probe, **values.get("probe", {}))
    count = _affordable(trainings, steps, rank_at, probe)
    if count <= values["n_trials"]:
        return chosen
    promote = _promoted(file, trainings, steps, rank_at, probe, count)
    more = {"n_trials": count, "promote": max(promote, values["promote"])}
    then = f"the {values['n_trials']} trials that were chosen then"
    why = f"n_trials and promote: the budget pays for more than {then}"
    return Choices({**values, **more}, (*chosen.reasons, why))


def follows_budget(file: StudyFile, chosen: Choices) -> bool:
    """Whether the number of a study's trials was chosen, and follows from its budget."""
    ranks = {"n_trials", "rank_at", "promote"} <= chosen.values.keys()
    return ranks and file.n_trials is None and file.budget is not None


def _searches(file: StudyFile) -> float:
    """How many kinds of network there are: one of each is steered.

    Those that differ in seeds and continuous parameters alone share an edge.
    """
    others = [p for name, p in file.variables.items() if name != "lr" and not _shares_edges(p)]
    return math.prod(
        len(p.choices) if isinstance(p, CategoricalParameter) else math.inf for p in others
    )


def _shares_edges(parameter: Parameter) -> bool:
    """Whether networks that differ in it are steered once, as `EdgeOfChaosSampler` does it."""
    is_continuous = isinstance(parameter, FloatParameter) and not parameter.step
    return is_continuous or isinstance(parameter, SeedParameter)


def _why_ranked(file: StudyFile, ranking: Mapping[str, Any], steps: int | None) -> str:
    count = ranking.get("n_trials", file.n_trials)
    assert file.budget is not None
    assert steps is not None
    trainings = file.budget.gradient_evaluations / steps
    return (
        f"rank_at: of a budget of {trainings:.2g} trainings, {count} trials are trained for "
        f"{ranking['rank_at']} of {steps} steps, and the best {ranking['promote']} in full, "
        "if it pays for them"
    )


def _pruner(file: StudyFile, values: Mapping[str, Any], horizon: int) -> str | dict[str, Any]:
    if len(file.all_directions) > 1:
        return "nop"
    if file.task is not None and not _is_trained_by_us(file):
        return "median" if file.value != "exponent" else "nop"
    if "rank_at" not in values and file.rank_at is None:
        median = {"name": "median", "n_warmup_steps": horizon + 1}
        return {"name": _PRUNER, "patience": _PATIENCE, "wrapped": median}
    # How many are ranked is said before: what pruning saves would not be spent on more of them.
    return "nop" if isinstance(values.get("sampler"), dict) else _PRUNER


def _resolved(role: str, value: Any) -> ClassSpec | None:
    report = Report(Document({role: value}))
    spec = resolve_class("sampler" if role == "sampler" else "pruner", value, (role,), report)
    assert not report.issues, report.issues
    return spec
