"""Maps step as usual where gradients are switched off, whatever path a model takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.dynamics.stack import stack
from lyapopt.exponents import from_neighbours, spectrum

X = torch.randn(32, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = X[:, :1] * X[:, 1:2]


class Branching(nn.Linear):
    """Looks at its numbers, so that it cannot be stacked."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if float(y.detach().sum()) > -1e9 else -y


class Recurrent(nn.Module):
    """Goes through `vmap`."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(x.unsqueeze(1))
        read: Tensor = self.last(states[:, -1])
        return read


MODELS: dict[str, Callable[[], nn.Module]] = {
    "tiny": lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)),
    "wide": lambda: nn.Sequential(nn.Linear(3, 40), nn.Tanh(), nn.Linear(40, 1)),
    "moving buffers": lambda: nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.1), nn.Linear(4, 1)
    ),
    "vmap": Recurrent,
    "unstacked": lambda: Branching(3, 1),
}


def trainings(make: Callable[[], nn.Module], count: int) -> list[Training]:
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        model = make().double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        data = (X, Y)
        made.append(Training(model, nn.MSELoss(), optimizer, data, batch_size=16, seed=seed))
    return made


def all_it_does(given: list[Training]) -> list[Tensor]:
    found = []
    for _, step in stack(given):
        z = step.initial_state().repeat(1, 2, 1)
        for t in range(3):
            z, losses = step.step_with_losses(z, t)
            found.append(losses)
        z = step(z, 3)
        exponent = from_neighbours(step, step.initial_state(), 3, neighbours=2, radius=1e-6)
        found += [z, step.outputs(z), exponent.value]
        found.append(torch.tensor(step.evaluate(z).losses))
    return found


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_a_map_does_the_same_where_gradients_are_switched_off(
    name: str, count: int, mode: Callable[[], AbstractContextManager[object]]
) -> None:
    expected = all_it_does(trainings(MODELS[name], count))
    given = trainings(MODELS[name], count)
    with mode():
        found = all_it_does(given)
    assert len(found) == len(expected)
    for there, here in zip(found, expected, strict=True):
        assert torch.equal(there.clone(), here)


def test_tangents_are_the_same_where_gradients_are_switched_off() -> None:
    def values() -> Tensor:
        step = TrainingMap(trainings(MODELS["tiny"], 2))
        return spectrum(step, step.initial_state(), 5, k=2).values

    expected = values()
    with torch.no_grad():
        assert torch.equal(values(), expected)
