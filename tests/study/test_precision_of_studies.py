"""Studies of float32 networks: trained as they are, measured in float64, and both are counted."""

import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from networks_of_users import NETWORKS
from optuna.trial import FrozenTrial

from lyapopt.store import TrajectoryStore
from lyapopt.study.file import load_study_file
from lyapopt.study.run.preview import preview
from lyapopt.study.run.runner import run_study

STUDY = """
study_name: s
storage: sqlite:///{folder}/{name}.db
task: {{build: "own:build"}}
search_space: {{lr: {{type: float, low: 0.01, high: 0.1}}, network: {network}}}
probe: {{horizon: 8, neighbours: 2}}
sampler: random
pruner: none
record: {{weights: full}}
n_trials: 3
trials_at_once: 3
"""
OWN = """
import sys
sys.path.insert(0, {tests!r})
import torch
from networks_of_users import NETWORKS

def build(params):
    dtype = getattr(torch, params.get("dtype", "float32"))
    return NETWORKS[params["network"]].training(params["lr"], dtype, steps=16)
"""


def study(folder: Path, name: str, network: str, *overrides: str) -> list[FrozenTrial]:
    (folder / "own.py").write_text(OWN.format(tests=str(Path(__file__).parents[1])))
    path = folder / f"{name}.yaml"
    path.write_text(STUDY.format(folder=folder, name=name, network=network))
    file = load_study_file(path, overrides)
    estimate = preview(file)
    run_study(file)
    trials = optuna.load_study(study_name="s", storage=file.storage).trials
    whole = [t for t in trials if t.state.name == "COMPLETE"]
    assert whole
    costs = [t.user_attrs["gradient_evaluations"] for t in whole]
    assert estimate.cost == pytest.approx(sum(costs) / len(costs), rel=1e-4)
    return trials


def test_a_study_trains_in_the_networks_precision_and_measures_as_its_float64_twin(
    tmp_path: Path,
) -> None:
    own = study(tmp_path, "own", "class weights")
    twins = study(tmp_path, "twin", "class weights", "search_space.dtype=float64")
    cast = study(tmp_path, "cast", "class weights", "dtype=float64")
    for trial, twin, in_float64 in zip(own, twins, cast, strict=True):
        assert trial.user_attrs["measured"] == "neighbours in float64"
        assert "measured" not in twin.user_attrs
        assert trial.user_attrs["verdict"] == twin.user_attrs["verdict"]
        for one in (trial, in_float64):
            exponent = one.user_attrs["exponent"]
            assert exponent == pytest.approx(twin.user_attrs["exponent"], rel=1e-3, abs=1e-6)
        # A reference of its own, eight steps: the rest costs the same.
        costs = [t.user_attrs["gradient_evaluations"] for t in (trial, twin, in_float64)]
        assert costs[0] - 8 == costs[1] == costs[2]
        assert trial.value == pytest.approx(twin.value, rel=1e-3)
        assert trial.value != twin.value
    store = TrajectoryStore(f"sqlite:///{tmp_path}/own.db")
    assert len(store.trajectories("s", 0, "loss")) == 16  # of the training itself, from its start
    [exponent, *_] = store.read(own[0].user_attrs["lyapopt:run"]).exponents
    assert exponent.details["dtype"] == "float64"


@pytest.mark.slow
@pytest.mark.ci
def test_ten_ordinary_networks_are_judged_in_a_study_as_their_float64_twins(tmp_path: Path) -> None:
    names = f"search_space.network={list(NETWORKS)}"
    rates = "search_space.lr=[0.003, 3.0]"
    grid = [names, rates, "sampler=grid", "n_trials=20", "trials_at_once=20"]
    own = study_without_estimate(tmp_path, "own", *grid)
    twins = study_without_estimate(tmp_path, "twin", *grid, "search_space.dtype=float64")
    assert len(own) == 20
    for trial, twin in zip(own, twins, strict=True):
        params = trial.params
        assert params == {k: v for k, v in twin.params.items() if k != "dtype"}
        assert trial.user_attrs["verdict"] == twin.user_attrs["verdict"], params
        if "exponent" in twin.user_attrs:
            expected = pytest.approx(twin.user_attrs["exponent"], rel=0.05, abs=0.002)
            assert trial.user_attrs["exponent"] == expected, params


def test_steering_measures_a_float32_network_once_and_trains_it_from_the_start(
    tmp_path: Path,
) -> None:
    steered = ["sampler={name: edge-of-chaos, steer: lr}", "search_space.lr.log=true"]
    own = study_without_estimate(tmp_path, "own", *steered)
    twins = study_without_estimate(tmp_path, "twin", *steered, "search_space.dtype=float64")
    for trial, twin in zip(own, twins, strict=True):
        assert trial.params["lr"] == pytest.approx(twin.params["lr"], rel=1e-6)
        assert trial.user_attrs["exponent"] == pytest.approx(twin.user_attrs["exponent"], rel=1e-3)
        # The twin goes on from the first 8 of its 16 steps.
        costs = [t.user_attrs["gradient_evaluations"] for t in (trial, twin)]
        assert costs[0] - 8 == costs[1]


def study_without_estimate(folder: Path, name: str, *overrides: str) -> list[FrozenTrial]:
    (folder / "own.py").write_text(OWN.format(tests=str(Path(__file__).parents[1])))
    path = folder / f"{name}.yaml"
    path.write_text(STUDY.format(folder=folder, name=name, network="mlp"))
    file = load_study_file(path, overrides)
    run_study(file)
    return optuna.load_study(study_name="s", storage=file.storage).trials


REFUSED = """
import lyapopt, torch
from torch import nn

class Strict(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 1)

    def forward(self, x):
        if x.dtype != torch.float32:
            raise TypeError("only float32")
        return {outputs}

def build(params):
    model = Strict()
    optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
    x = torch.randn(12, 3)
    return lyapopt.Training(model, nn.MSELoss(), optimizer, (x, x[:, :1]), steps=16)
"""


@pytest.mark.parametrize(
    ("outputs", "measured"),
    [("self.fc(x)", "tangents in float32"), ("self.fc(x) * self.fc(x).detach()", "")],
)
def test_a_dry_run_says_how_a_network_is_measured_or_why_it_cannot_be(
    tmp_path: Path, outputs: str, measured: str
) -> None:
    (tmp_path / "own.py").write_text(REFUSED.format(outputs=outputs))
    path = tmp_path / "s.yaml"
    text = STUDY.replace(", network: {network}", "").format(folder=tmp_path, name="s")
    path.write_text(text.replace("estimator", ""))
    command = [sys.executable, "-m", "lyapopt", "run", "s.yaml", "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if measured:
        assert f"{measured}, in the first 8 steps of the training" in done.stdout
        assert done.returncode == 0
    else:
        assert "neither in float64" in done.stdout
        assert "TypeError: only float32" in done.stdout
        assert done.returncode == 1
