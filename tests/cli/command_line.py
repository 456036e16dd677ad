"""Runs `lyapopt` as a process of its own, in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lyapopt.cli.fields import as_dict
from lyapopt.study.analysis.overview import load_study, names_of_studies
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study

Run = Callable[..., tuple[int, str, str]]
"""What the fixture `run` is."""

ROOT = Path(__file__).parents[2]

STUDY = """
version: 1
study_name: small
storage: sqlite:///study.db
seed: 3
task: {name: xor, hidden: 4, steps: 40}
search_space:
  activation: [linear, sigmoid, relu]
  lr: {type: float, low: 0.01, high: 3.0, log: true}
  init_seed: {type: seed}
probe: {horizon: 8, neighbours: 2}
sampler: {name: tpe, n_startup_trials: 4}
pruner: {name: lyapunov, slow: null, wrapped: {name: median, n_startup_trials: 3}}
n_trials: 8
trials_at_once: 4
"""

OWN_STUDY = """
study_name: own
storage: sqlite:///study.db
task: {build: "own_task:build"}
search_space: {lr: {type: float, low: 0.01, high: 1.0, log: true}}
probe: {horizon: 4}
n_trials: 3
"""

OWN_TASK = """
import lyapopt
import torch
from torch import nn


def build(params):
    model = nn.Linear(2, 1, dtype=torch.float64)
    x = torch.eye(2, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
    return lyapopt.Training(model, nn.MSELoss(), optimizer, (x, x[:, :1]), steps=8)
"""


def environment(**extra: str) -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    inherited = {k: v for k, v in os.environ.items() if k not in ("LYAPOPT_DEBUG", "COLUMNS")}
    return {**inherited, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **extra}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lyapopt", *arguments]


def lyapopt(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **{"stdin": subprocess.DEVNULL, **options},
    )


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def write(folder: Path, text: str = STUDY, name: str = "study.yaml") -> str:
    (folder / name).write_text(text)
    return name


def trials(folder: Path, database: str = "study.db") -> list[dict[str, Any]]:
    """The trials of the only study in a database, as `lyapopt trials -f json` prints them."""
    storage = f"sqlite:///{folder / database}"
    [name] = names_of_studies(storage)
    return [as_dict(trial) for trial in load_study(storage, name).trials]


def results(folder: Path) -> list[str]:
    """What must be equal between two runs of a study: trials that count, without numbers."""
    return sorted(
        json.dumps({name: value for name, value in trial.items() if name != "trial"})
        for trial in trials(folder)
        if trial["state"] in ("complete", "pruned", "failed")
    )


def run_here(folder: Path, *overrides: str) -> None:
    """Run a study in this process, which has imported what a new one would take seconds for."""
    with contextlib.chdir(folder):
        run_study(load_study_file("study.yaml", overrides))
