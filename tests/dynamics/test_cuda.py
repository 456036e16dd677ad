"""The same maps on a GPU; skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.exponents import from_neighbours
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="torch.cuda.is_available() is false: these tests need a GPU and a CUDA build of torch",
)

MODELS: dict[str, Callable[[], nn.Module]] = {
    "tiny": lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)),
    "wide": lambda: nn.Sequential(nn.Linear(3, 40), nn.Tanh(), nn.Linear(40, 1)),
    "moving buffers": lambda: nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)
    ),
}
OPTIMIZERS = [torch.optim.SGD, torch.optim.Adam]


def step_on(device: str, make: Callable[[], nn.Module], optimizer: type) -> TrainingMap:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = (x.to(device), (x[:, :1] * x[:, 1:2]).to(device))
    trainings = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = make().to(device, torch.float64)
        own = optimizer(model.parameters(), lr=0.02 * (1 + seed))
        trainings.append(Training(model, nn.MSELoss(), own, data, batch_size=16, seed=seed))
    return TrainingMap(trainings, compile="off")


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Whatever makes the host wait for the GPU raises."""
    before = torch.cuda.get_sync_debug_mode()
    yield
    torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_a_step_on_the_gpu_is_the_step_on_the_processor(name: str, optimizer: type) -> None:
    here = step_on("cpu", MODELS[name], optimizer)
    there = step_on("cuda", MODELS[name], optimizer)
    z = here.initial_state().repeat(1, 4, 1)
    for t in range(6):  # each from the same state: differences would grow
        expected, losses = here.step_with_losses(z, t)
        found, found_losses = there.step_with_losses(z.cuda(), t)
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found_losses.cpu(), losses, rtol=1e-10, atol=1e-12)
        z = expected


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_no_step_waits_for_the_gpu(name: str, optimizer: type, no_waiting: None) -> None:
    step = step_on("cuda", MODELS[name], optimizer)
    z = step.initial_state().repeat(1, 4, 1)
    z, _ = step.step_with_losses(z, 0)  # which learns how many rows to take at once
    torch.cuda.set_sync_debug_mode("error")
    for t in range(1, 300):  # over ends of epochs, and of windows of coefficients
        z, losses = step.step_with_losses(z, t)
    torch.cuda.set_sync_debug_mode("default")
    assert losses.isfinite().all()


def test_an_exponent_on_the_gpu_is_that_on_the_processor() -> None:
    found = []
    for device in ("cpu", "cuda"):
        step = step_on(device, MODELS["tiny"], torch.optim.SGD)
        made = from_neighbours(step, step.initial_state(), 10, neighbours=4, radius=1e-6)
        found.append(made.value.cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_a_study_runs_on_the_gpu(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        f"""
version: 1
study_name: gpu
storage: sqlite:///{tmp_path}/study.db
task: {{name: xor, hidden: 3, steps: 20}}
search_space: {{lr: {{type: float, low: 0.01, high: 1.0, log: true}}}}
probe: {{horizon: 6, neighbours: 1}}
sampler: random
n_trials: 4
device: cuda
"""
    )
    assert run_study(load_study_file(path)).ledger.states["complete"] == 4
