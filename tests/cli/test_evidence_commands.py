"""`lyapopt bench search`, `signal` and `paper` on a network of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NETWORK = """
import torch
from torch import nn
import lyapopt

draw = torch.Generator().manual_seed(0)
x = torch.randn(96, 4, generator=draw, dtype=torch.float64)
y = torch.sin(x.sum(1, keepdim=True))


def build(params):
    torch.manual_seed(params["init_seed"])
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    return lyapopt.Training(
        model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=params["lr"]),
        (x[:64], y[:64]), batch_size=16, steps=48, validation=(x[64:], y[64:]),
    )
"""
TASK = ("--task", "mine:build", "--grid", "lr=1e-3:10:9", "--grid", "init_seed=0,1")
FEW = ("random", "i-Epoch 10 steps, top 1", "edge of chaos + ranking", "oracle", "useless")


def lyapopt(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    (folder / "mine.py").write_text(NETWORK)
    done = subprocess.run(
        [sys.executable, "-m", "lyapopt", "bench", *arguments],
        cwd=folder,
        env={**os.environ, "LYAPOPT_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.slow
@pytest.mark.ci
def test_a_network_of_one_s_own_is_compared_stored_and_drawn(tmp_path: Path) -> None:
    only = [part for name in FEW for part in ("--only", name)]
    outputs = ("--json", "out.json", "--html", "out.html", "--seeds", "3")
    first = lyapopt(tmp_path, "search", *TASK, *only, *outputs)
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert {row["method"] for row in numbers["summary"]} == set(FEW)
    assert numbers["summary"][0]["method"] == "oracle"
    assert len(numbers["live"]) == 4
    page = (tmp_path / "out.html").read_text()
    assert page.count("Plotly.newPlot") >= 4
    assert '<script src="http' not in page
    again = lyapopt(tmp_path, "search", *TASK, *only, *outputs)
    assert "5 of them stored already" in again.stderr
    assert again.stdout == first.stdout
    assert json.loads((tmp_path / "out.json").read_text()) == numbers


@pytest.mark.slow
def test_signals_of_a_network_of_one_s_own_are_scored(tmp_path: Path) -> None:
    done = lyapopt(tmp_path, "signal", *TASK, "--json", "out.json", "--html", "out.html")
    assert "placebo: log lr" in done.stdout
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert {"spearman", "auc_above", "gain_low"} <= set(numbers["scores"][0])
    assert "Plotly.newPlot" in (tmp_path / "out.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "--task", "mine:bild"), "bild"),
        (("search", "--task", "nowhere"), "there is no benchmark task 'nowhere'"),
        (("search", "--only", "magic"), "there are random"),
        (("search", "--quick", "--full"), "exclude each other"),
        (("search", "--grid", "lr=1:2:3"), "belongs to --task"),
        (("search", "--task", "mine:build", "--grid", "lr=1e-3"), "lr=low:high:count"),
        (("signal", "--html", "no/such/folder/x.html"), "there is no folder"),
    ],
)
def test_mistakes_are_named_without_a_traceback(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = lyapopt(tmp_path, *arguments, code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
