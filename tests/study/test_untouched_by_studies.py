"""Own tasks of study files: no random number moves, and refusals are those of Python."""

import random
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from lyapopt.store import TrajectoryStore
from lyapopt.study.file import load_study_file
from lyapopt.study.run.preview import preview
from lyapopt.study.run.runner import run_study

STUDY = """
study_name: s
storage: sqlite:///{folder}/{name}.db
task: {{build: "own_{name}:build"}}
search_space: {{lr: {{type: float, low: 0.0001, high: 0.001}}}}
probe: {{horizon: 3, neighbours: 1}}
sampler: random
pruner: none
n_trials: 1
"""
OWN = """
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, WeightedRandomSampler
import lyapopt

X, Y = torch.ones(6, 1), torch.zeros(6, 1)


class Noisy(nn.Linear):
    def forward(self, x):
        return super().forward(x) * (1 + random.random() + np.random.rand() + torch.rand(1))


class Augmented(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return X[index] * (1 + random.random()) + np.random.rand() + torch.rand(1), Y[index]


class Carrying(nn.Linear):
    h = 0.0

    def forward(self, x):
        outputs = super().forward(x) + self.h
        self.h = outputs.detach().mean()
        return outputs


def build(params):
    model, loss_fn, data = nn.Linear(1, 1), nn.MSELoss(), (X, Y)
    {change}
    sgd = torch.optim.SGD(model.parameters(), lr=params["lr"])
    return lyapopt.Training(model, loss_fn, sgd, data, steps=4)
"""


def run(folder: Path, name: str, change: str, *overrides: str) -> optuna.trial.FrozenTrial:
    (folder / f"own_{name}.py").write_text(OWN.format(change=change))
    path = folder / f"{name}.yaml"
    path.write_text(STUDY.format(folder=folder, name=name))
    file = load_study_file(path, overrides)
    run_study(file)
    [trial] = optuna.load_study(study_name="s", storage=file.storage).trials
    return trial


def generators() -> object:
    state = np.random.get_state()
    return random.getstate(), state[1].tolist(), state[2], torch.get_rng_state().tolist()


def test_a_study_moves_no_random_numbers_whatever_its_network_and_its_data_draw(tmp_path):
    before = generators()
    trial = run(tmp_path, "noisy", "model, data = Noisy(1, 1), Augmented()")
    assert trial.state.name == "COMPLETE", trial.user_attrs
    preview(load_study_file(tmp_path / "noisy.yaml", ()))
    assert generators() == before


SAMPLER = "data = DataLoader(TensorDataset(X, Y), 2, sampler=WeightedRandomSampler([1.0] * 6, 6))"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("sampler", SAMPLER, "sampler or batch_sampler of its own"),
        ("state", "model = Carrying(1, 1)", "what the pass before has left behind"),
        (
            "penalty",
            "loss_fn = lambda o, t: o.square().mean() + model.weight.square().sum()",
            "such as the model itself",
        ),
    ],
)
@pytest.mark.parametrize("override", [(), ("dtype=float64",)])
def test_what_cannot_be_repeated_fails_its_trial_with_the_reason(
    tmp_path, name, change, message, override
):
    trial = run(tmp_path, name, change, *override)
    assert trial.state.name == "FAIL"
    store = TrajectoryStore(f"sqlite:///{tmp_path}/{name}.db")
    assert message in store.read(trial.user_attrs["lyapopt:run"]).reason
