"""A user's code may change the working directory: all files stay where the study began."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lyapopt import TrajectoryStore, load, load_study_file, run_study

TASK = """
import os
import torch
from torch import nn
from lyapopt import Training

def go_deeper():
    os.makedirs("deeper", exist_ok=True)
    os.chdir("deeper")

def build(params):
    go_deeper()
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
    return Training(model, nn.MSELoss(), optimizer, (torch.eye(2), torch.ones(2, 1)), steps=8)

def value(trial):
    go_deeper()
    return trial.suggest_float("lr", 0, 1)
"""

STUDY = """
task: {{build: "{module}:build"}}
storage: {storage}
search_space: {{lr: {{type: float, low: 1e-3, high: 0.5, log: true}}}}
probe: {{horizon: 4}}
n_trials: 12
"""
OWN = """
objective: {{call: "{module}:value"}}
storage: {storage}
n_trials: 12
"""


def _files(folder: Path) -> set[Path]:
    """Folders that hold a file of a database, a journal or a lock."""
    return {p.parent for p in folder.rglob("*") if ".db" in p.name or ".log" in p.name}


@pytest.mark.parametrize(
    ("text", "storage"),
    [
        (STUDY, "sqlite:///runs/own.db"),
        (STUDY, "journal:///runs/own.log\nstore: sqlite:///runs/own.db"),
        (OWN, "sqlite:///runs/own.db"),
    ],
    ids=["task", "journal", "objective"],
)
def test_a_study_whose_code_changes_the_directory_keeps_its_files_in_one_place(
    text: str, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = f"moving_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{module}.py").write_text(TASK)
    (tmp_path / "study.yaml").write_text(text.format(module=module, storage=storage))
    result = run_study(load_study_file("study.yaml"))
    assert len(result.ledger.done) == 12
    assert (tmp_path / "deeper" / "deeper").is_dir()
    assert Path.cwd() == tmp_path
    assert _files(tmp_path) == {tmp_path / "runs"}
    assert len(load(storage.split("\n")[0]).trials) == 12
    again = run_study(load_study_file("study.yaml"), extra=2)
    assert len(again.ledger.done) == 14
    sys.modules.pop(module, None)


def test_a_store_opened_by_a_relative_path_stays_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = TrajectoryStore("sqlite:///own.db")
    store.create_tables()
    store.close()
    (tmp_path / "other").mkdir()
    os.chdir("other")
    assert len(store.runs()) == 0
    assert _files(tmp_path) == {tmp_path}
