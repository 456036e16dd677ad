"""One study of a problem, by lyapopt as it recommends it and by Optuna alone."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import optuna
import torch
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from lyapopt.bench.studies.problems import Length, Problem
from lyapopt.bench.timing import temporary_folder
from lyapopt.dynamics import Training, stack
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.probe.probe import FORWARD_COST
from lyapopt.search.attributes import COST
from lyapopt.search.probing.building import Build, build_training
from lyapopt.tasks.builder import TaskBuilder

RunFile = Callable[[Path], object]
"""Runs a study file (studies are no part of what a bench may import)."""

OURS, PLAIN = "auto", "TPE + Median"
_REPORTS = 10
_STUDY: Final = "study"
_PROMOTED: Final = "study-promoted"


@dataclass(frozen=True)
class Found:
    """What a study came to.

    Attributes:
        value: The lowest final value of a training that was completed within the budget; infinite
            without one.
        spent: Gradient evaluations of all trials.
        trials: How many there were, trainings of promoted trials left out.
        completed: How many trainings came to their end.
    """

    value: float
    spent: float
    trials: int
    completed: int


def recommended(problem: Problem, length: Length, seed: int, run_file: RunFile) -> Found:
    """A study in which nothing but task, space and length is said.

    Args:
        problem: What is searched for.
        length: When it ends.
        seed: Of the study.
        run_file: Runs a study file.
    """
    with temporary_folder() as folder:
        storage = f"sqlite:///{folder}/study.db"
        path = Path(folder, "study.yaml")
        path.write_text(json.dumps(_study_file(problem, length, seed, storage)))
        run_file(path)
        trials, ranked = _trials_of(storage)
    return found_in(trials, ranked, length.gradients(problem))


def _study_file(problem: Problem, length: Length, seed: int, storage: str) -> dict[str, Any]:
    """A study file; JSON is YAML."""
    gradients = length.gradients(problem)
    limits: dict[str, Any] = {} if length.trials is None else {"n_trials": length.trials}
    if gradients is not None:
        limits["budget"] = {"gradient_evaluations": int(gradients)}
    return {
        "version": 1,
        "study_name": _STUDY,
        "storage": storage,
        "seed": seed,
        "task": problem.task,
        "search_space": problem.search_space,
        "record": {"weights": "none"},  # what is kept changes nothing of a search
        **limits,
    }


def _trials_of(storage: str) -> tuple[list[FrozenTrial], int]:
    """All trials in their order, promoted ones last; and how many were only ranked."""
    names = optuna.get_all_study_names(storage)
    studies = [
        optuna.load_study(study_name=name, storage=storage).trials
        for name in (_STUDY, _PROMOTED)
        if name in names
    ]
    return [trial for trials in studies for trial in trials], (
        len(studies[0]) if len(studies) > 1 else 0
    )


def plain(problem: Problem, length: Length, seed: int) -> Found:
    """The same search by Optuna's TPE and median pruner, one trial after another, unprobed.

    Args:
        problem: What is searched for.
        length: When it ends.
        seed: Of the sampler, of initial weights and of batches.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    build, fixed = _build_of(problem)
    study = optuna.create_study(sampler=TPESampler(seed=seed), pruner=MedianPruner())
    budget, spent, count = length.gradients(problem), 0.0, 0
    while spent < budget if budget is not None else count != length.trials:
        trial, count = study.ask(), count + 1
        params = {**fixed, **_suggested(trial, problem, seed)}
        cost = _train(study, trial, build_training(build, params, seed, trial.number))
        spent += cost
    return found_in(study.trials, 0, budget)


def _train(study: optuna.Study, trial: optuna.Trial, training: Training) -> float:
    """Train one trial and tell its end; what it has cost."""
    [(_, step)] = stack([training], compile="off")
    steps = training.steps or 0
    due = {round(steps * (k + 1) / _REPORTS) for k in range(_REPORTS)}
    z, cost, loss = step.initial_state(), 0.0, math.nan
    for t in range(steps):
        z, _ = step.step_with_losses(z, t)
        cost += 1
        if t + 1 in due:
            evaluation = step.evaluate(z)
            cost += FORWARD_COST * evaluation.examples / step.batch_size
            loss = evaluation.losses[0]
            is_whole = math.isfinite(loss) and bool(torch.isfinite(z).all())
            if is_whole:
                trial.report(loss, t + 1)
            if not is_whole or (t + 1 < steps and trial.should_prune()):
                trial.set_user_attr(COST, cost)
                study.tell(trial, state=TrialState.PRUNED)
                return cost
    trial.set_user_attr(COST, cost)
    study.tell(trial, loss)
    return cost


def _build_of(problem: Problem) -> tuple[Build, dict[str, Any]]:
    """The build function, and the parameters that are the same in all trials."""
    task = dict(problem.task)
    if "build" in task:
        module, _, name = task["build"].partition(":")
        return getattr(importlib.import_module(module), name), {}
    return TaskBuilder(task.pop("name"), task), {}


def _suggested(trial: optuna.Trial, problem: Problem, seed: int) -> dict[str, Any]:
    """Parameters of a trial; a seed is drawn, and no sampler is told."""
    found: dict[str, Any] = {}
    for name, entry in problem.search_space.items():
        if isinstance(entry, list):
            found[name] = trial.suggest_categorical(name, entry)
        elif entry["type"] == "seed":
            found[name] = derive_seed(seed, trial.number, name) % 2**31
        else:
            found[name] = trial.suggest_float(name, entry["low"], entry["high"], log=entry["log"])
    return found


def found_in(trials: Sequence[FrozenTrial], ranked: int, budget: float | None) -> Found:
    """What trials came to.

    Args:
        trials: In their order.
        ranked: How many of them were trained a little only.
        budget: Gradient evaluations; what was completed beyond them does not count.
    """
    spent = list(accumulate(float(trial.user_attrs.get(COST, 0.0)) for trial in trials))
    limit = math.inf if budget is None else budget
    full = [
        trial.value if cost <= limit else math.inf
        for trial, cost in zip(trials[ranked:], spent[ranked:], strict=True)
        if trial.state == TrialState.COMPLETE and trial.value is not None
    ]
    return Found(min(full, default=math.inf), spent[-1], ranked or len(trials), len(full))
