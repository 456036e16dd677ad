"""Rows that have diverged neither cost nor disturb, and tiny numbers are zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_oracle import regression

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.dynamics.gradients._batched import BatchedGradients


def training(seed: int, lr: float, hidden: int, momentum: float = 0.0) -> Training:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    return Training(
        model,
        nn.MSELoss(),
        optimizer,
        regression(examples=32, dtype=torch.float32),
        batch_size=16,
        seed=seed,
    )


def rows_of_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows every forward pass had."""
    counts: list[int] = []
    original: Callable[..., Any] = BatchedGradients._of_stack

    def counted(self: BatchedGradients, w: Tensor, *rest: Any) -> Any:
        counts.append(len(w))
        return original(self, w, *rest)

    monkeypatch.setattr(BatchedGradients, "_of_stack", counted)
    return counts


@pytest.mark.parametrize("hidden", [4, 40])
def test_a_diverged_row_is_not_computed_any_more(
    hidden: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = [0.01, 1e8, 0.02]
    step = TrainingMap([training(seed, lr, hidden) for seed, lr in enumerate(rates)])
    without = step.select([0, 2])
    z = step.initial_state().repeat(1, 2, 1)
    kept = z[[0, 2]]
    counts = rows_of_calls(monkeypatch)
    for t in range(40):
        z, losses = step.step_with_losses(z, t)
        last = counts[-1]
        kept, expected = without.step_with_losses(kept, t)
        torch.testing.assert_close(losses[[0, 2]], expected, rtol=1e-5, atol=1e-6)
    assert last == 4
    assert losses[1].isnan().all()
    assert z[1].isnan().all()
    torch.testing.assert_close(z[[0, 2]], kept, rtol=1e-4, atol=1e-5)


def test_a_stack_of_diverged_rows_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    step = TrainingMap([training(seed, 1e8, 40) for seed in range(3)])
    z = step.initial_state()
    for t in range(40):
        z, _ = step.step_with_losses(z, t)
    counts = rows_of_calls(monkeypatch)
    z, losses = step.step_with_losses(z, 40)
    assert counts == []
    assert losses.isnan().all()


def test_a_row_that_comes_back_is_computed_again() -> None:
    step = TrainingMap([training(seed, 0.01, 40) for seed in range(2)])
    z = step.initial_state()
    broken = z.clone()
    broken[1] = float("nan")
    expected = step.step_with_losses(z, 0)[0]
    for _ in range(3):
        step.step_with_losses(broken, 0)
    assert torch.equal(step.step_with_losses(z, 0)[0], expected)


def test_momenta_that_fade_become_zero_and_the_switch_is_put_back() -> None:
    step = TrainingMap([training(seed, 0.01, 40, momentum=0.5) for seed in range(2)])
    z = step.initial_state()
    step.slots(z)["momentum_buffer"].fill_(1e-44)
    before = (torch.tensor([1e-40]) * 0.5).item()
    with torch.no_grad():
        step.weights(z).zero_()  # a dead network: most of its gradients are zero
    after = step.slots(step.step_with_losses(z, 1)[0])["momentum_buffer"]
    tiny = (after != 0) & (after.abs() < torch.finfo(torch.float32).tiny)
    assert not tiny.any()
    assert (torch.tensor([1e-40]) * 0.5).item() == before > 0
