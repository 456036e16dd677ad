"""A study that is interrupted in the middle of training equals one that is not, trial for trial."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from lyapopt.search._optuna import logical_number
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study

TASK = """
import lyapopt, pathlib, torch
from torch import nn

HERE = pathlib.Path(__file__).parent
DRAW = torch.Generator().manual_seed(0)
X = torch.randn(64, 3, generator=DRAW, dtype=torch.float64)
Y = X[:, :1] * X[:, 1:2]


class Interruption(nn.Module):
    # A metric that is Ctrl-C, when it has been computed so often as a file says.
    def forward(self, outputs, targets):
        countdown = HERE / "countdown"
        if countdown.exists():
            left = int(countdown.read_text()) - 1
            countdown.write_text(str(left))
            if left == 0:
                countdown.unlink()
                raise KeyboardInterrupt
        return (outputs - targets).abs().mean()


def build(params):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
    return lyapopt.Training(
        model, nn.MSELoss(), optimizer, data=(X, Y), batch_size=8, steps=params.get("steps", 24),
        validation=(X, Y), metric=Interruption(),
    )
"""

STUDY = """
version: 1
study_name: s
storage: sqlite:///{path}/{name}.db
seed: 5
task: {{build: "interrupted_task:build"}}
search_space:
  lr: {{type: float, low: 0.001, high: 1.0, log: true}}
  momentum: {{type: float, low: 0.0, high: 0.9}}
probe: {{horizon: 4, neighbours: 1}}
sampler: {{name: {sampler}}}
pruner: {pruner}
n_trials: 12
trials_at_once: 4
record: {{weights: none}}
"""

PRUNERS = {
    "successive-halving": "{name: successive-halving, min_resource: 4, reduction_factor: 2}",
    "hyperband": "{name: hyperband, min_resource: 4, max_resource: 24, reduction_factor: 2}",
    "hyperband-auto": "{name: hyperband, min_resource: 4, reduction_factor: 2}",
    "patient": "{name: patient, patience: 1, wrapped: {name: successive-halving, min_resource: 4}}",
    "lyapunov": "{name: lyapunov, slow: null, wrapped: {name: sha, min_resource: 4}}",
    "wilcoxon": "{name: wilcoxon, p_threshold: 0.4, n_startup_steps: 1}",
    "median": "{name: median, n_startup_trials: 3}",
    "gated-percentile": "{name: gated-percentile, n_startup_trials: 3}",
}


@pytest.fixture
def folder(memory: Path) -> Iterator[Path]:
    (memory / "interrupted_task.py").write_text(textwrap.dedent(TASK))
    yield memory
    sys.modules.pop("interrupted_task", None)


def write(folder: Path, name: str, pruner: str, sampler: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(STUDY.format(path=folder, name=name, pruner=pruner, sampler=sampler))
    return path


def results(path: Path) -> dict[int, Any]:
    file = load_study_file(path)
    trials = optuna.load_study(study_name="s", storage=file.storage).trials
    counting = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    found = {
        logical_number(t): (
            t.state.name,
            t.params,
            t.values,
            t.intermediate_values,
            {k: v for k, v in t.user_attrs.items() if not k.startswith("lyapopt:")},
        )
        for t in counting
    }
    assert len(found) == len(counting), "a trial counts twice"
    return found


def interrupted(path: Path, evaluations: int) -> bool:
    """Run until so many evaluations have begun; whether it came so far."""
    countdown = path.parent / "countdown"
    countdown.write_text(str(evaluations))
    ended = run_study(load_study_file(path))
    countdown.unlink(missing_ok=True)
    return ended.interrupted


def check(folder: Path, pruner: str, sampler: str, interruptions: list[int]) -> None:
    whole, broken = (write(folder, name, pruner, sampler) for name in ("whole", "broken"))
    run_study(load_study_file(whole))
    for evaluations in interruptions:
        assert interrupted(broken, evaluations)
    assert not run_study(load_study_file(broken)).interrupted
    assert sorted(results(whole)) == list(range(12))
    assert results(broken) == results(whole)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("hyperband", "median") else pytest.mark.slow)
        for name in PRUNERS
    ],
)
def test_interruptions_in_mid_training_change_nothing_under_any_pruner(
    folder: Path, name: str
) -> None:
    # In the first group, and in the second, where some trials of it have been pruned.
    check(folder, PRUNERS[name], "random", [7, 28])


def test_some_trials_of_the_interrupted_groups_had_been_pruned(folder: Path) -> None:
    path = write(folder, "whole", PRUNERS["successive-halving"], "random")
    run_study(load_study_file(path))
    states = [state for state, *_ in results(path).values()]
    assert states[:4].count("PRUNED") >= 2
    assert states[4:8].count("PRUNED") >= 2


@pytest.mark.parametrize(
    "sampler",
    [
        "qmc",
        pytest.param("tpe", marks=pytest.mark.slow),
        pytest.param("gp", marks=pytest.mark.slow),
        pytest.param("nsgaii", marks=pytest.mark.slow),
    ],
)
def test_interruptions_in_mid_training_change_nothing_under_any_sampler(
    folder: Path, sampler: str
) -> None:
    check(folder, PRUNERS["hyperband"], sampler, [20])
