"""Every block of the README runs as it is, shortened, and every command line in it is one."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import typer
from recipes import README
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lyapopt
from lyapopt.cli.main import app

Run = Callable[..., tuple[int, str, str]]

ROOT = README.parent
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
MODULE = next(block for block in BLOCKS if block.startswith("# mytask.py"))
SHORTER = {
    "steps=300": "steps=30",
    "n_trials=30": "n_trials=2",
    "n_trials=60": "n_trials=6",
    "horizon=1000": "horizon=50",
    "    ...\n": "    optimizer.zero_grad(); loss_fn(model(x), y).backward(); optimizer.step()\n",
}


def shortened(text: str) -> str:
    for old, new in SHORTER.items():
        text = text.replace(old, new)
    return text


def around(folder: Path) -> dict[str, Any]:
    """What a block may take as given: a user's loop, trial, studies and objective."""
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    x = torch.randn(200, 3)
    batches = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    names: dict[str, Any] = {"lyapopt": lyapopt, "optuna": optuna, "torch": torch}
    names |= {"model": model, "loss_fn": nn.MSELoss(), "batches": batches, "loader": batches}
    names["optimizer"] = torch.optim.SGD(model.parameters(), lr=0.05)
    names |= {"trial": study.ask(), "study": optuna.create_study(), "full": optuna.create_study()}
    names["objective"] = lambda trial, steps=2000: trial.suggest_float("x", -1, 1)
    names["build"] = lambda params: lyapopt.Training(
        model, nn.MSELoss(), names["optimizer"], (x, x[:, :1]), steps=30
    )
    return names


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.strip().splitlines()[0][:50])
def test_a_block_of_python_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mytask", raising=False)
    (tmp_path / "mytask.py").write_text(shortened(MODULE))
    exec(shortened(block), around(tmp_path))


def command_lines() -> list[str]:
    """Command lines of the README and of the studies' comments."""
    places = [README, *sorted((ROOT / "studies").glob("*.yaml"))]
    text = "\n".join(path.read_text() for path in places)
    lines = re.findall(r"^(?:#  |    )\s*(lyapopt [a-z].*)$", text, flags=re.MULTILINE)
    parts = [part.strip() for line in lines for part in line.split(" && ")]
    return sorted({part for part in parts if part.startswith("lyapopt ")})


def test_every_command_line_is_one_that_the_program_takes() -> None:
    lines = command_lines()
    assert len(lines) > 20
    for line in lines:
        command: Any = typer.main.get_command(app)
        name, *arguments = shlex.split(re.split(r"\s{2,}", line)[0], comments=True)
        context = None
        while hasattr(command, "commands"):
            first, *arguments = arguments
            assert first in command.commands, line
            context, command = (
                command.make_context(name, [], resilient_parsing=True),
                (command.commands[first]),
            )
        command.make_context(command.name, arguments, parent=context)  # raises what is wrong


def test_the_commands_that_look_at_a_study_run_as_they_are_written(run: Run) -> None:
    path = str(ROOT / "studies" / "digits.yaml")
    short = ("n_trials=4", "task.steps=30", "pruner=none")
    code, _, err = run("run", path, "-q", *(f"--set={text}" for text in short))
    assert code == 0, err
    looking = [line for line in command_lines() if re.match(r"lyapopt (trials|best|replay) ", line)]
    assert len(looking) >= 3
    for line in looking:
        arguments = shlex.split(line, comments=True)[1:]
        if "runs/digits.db" in arguments:
            code, out, err = run(*arguments)
            assert (code, bool(out)) == (0, True), (line, err)
