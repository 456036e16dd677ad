"""Rows of a stack may differ in their activations where the models are torch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from training_oracle import assert_every_step_agrees, regression

from lyapopt.dynamics import Training, TrainingMap, group_by_structure
from lyapopt.exponents import spectrum

D = torch.float64
ACTIVATIONS = [nn.Tanh, nn.ReLU, nn.Identity, nn.GELU, nn.Sigmoid, nn.Softplus]


def training(kinds: list[type[nn.Module]], seed: int, hidden: int = 5) -> Training:
    torch.manual_seed(seed)
    first, second = kinds
    model = nn.Sequential(
        nn.Linear(3, hidden, dtype=D),
        first(),
        nn.Sequential(nn.Linear(hidden, 4, dtype=D), nn.Dropout(0.2), second()),
        nn.Linear(4, 2, dtype=D),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    return Training(model, nn.MSELoss(), optimizer, regression(), batch_size=4, seed=seed)


def mixed(hidden: int = 5) -> list[Training]:
    order = [0, 1, 2, 1, 0, 3, 4, 5]
    return [
        training([ACTIVATIONS[k], ACTIVATIONS[-k - 1]], seed, hidden)
        for seed, k in enumerate(order)
    ]


@pytest.mark.parametrize("hidden", [5, 40])
def test_rows_of_different_activations_agree_with_torch(hidden: int) -> None:
    trainings = mixed(hidden)
    assert group_by_structure(trainings) == [[0, 4, 1, 3, 2, 5, 6, 7]]
    step = assert_every_step_agrees(trainings, steps=30)
    assert step._gradients.is_batched


def test_trajectories_and_selected_rows_keep_their_activations() -> None:
    step = TrainingMap(mixed())
    z = step.initial_state().repeat(1, 3, 1)
    z[:, 1:, 0] += 1e-3
    after = step.step_with_losses(z, 0)[0]
    torch.testing.assert_close(step(z, 0), after, rtol=1e-12, atol=1e-14)
    rows = [5, 0, 3]
    chosen = step.select(rows)
    torch.testing.assert_close(
        chosen.step_with_losses(z[rows], 0)[0], after[rows], rtol=1e-12, atol=1e-14
    )


def test_outputs_models_and_tangents_keep_their_activations() -> None:
    trainings = mixed()
    step = TrainingMap(trainings)
    z = step.initial_state()
    outputs = step.outputs(z)
    for row, own in enumerate(trainings):
        x = regression()[0]
        expected = own.model.eval()(x).detach().reshape(-1)
        own.model.train()
        torch.testing.assert_close(outputs[row, 0], expected, rtol=1e-12, atol=1e-14)
    together = spectrum(step, z, 3, k=2).values
    for row in (1, 5):
        alone = spectrum(TrainingMap([trainings[row]]), z[row : row + 1], 3, k=2).values[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-6, atol=1e-8)


class Own(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.linear, self.activation = nn.Linear(3, 2, dtype=D), activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.linear(x))


def test_models_with_code_of_their_own_do_not_mix_activations() -> None:
    def make(activation: nn.Module) -> Training:
        model = Own(activation)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return Training(model, nn.MSELoss(), optimizer, regression())

    assert group_by_structure([make(nn.ReLU()), make(nn.Tanh())]) == [[0], [1]]


def test_other_layers_and_other_numbers_do_not_mix() -> None:
    def make(layer: nn.Module) -> Training:
        model = nn.Sequential(nn.Linear(3, 2, dtype=D), layer)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return Training(model, nn.MSELoss(), optimizer, regression())

    layers = [nn.ReLU(), nn.LayerNorm(2, dtype=D), nn.ReLU(inplace=True), nn.LeakyReLU(0.2)]
    assert group_by_structure([make(layer) for layer in layers]) == [[0, 3], [1], [2]]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_activation_for_all_needs_no_choice(activation: type[nn.Module]) -> None:
    step = TrainingMap([training([activation, activation], seed) for seed in range(3)])
    assert step._gradients.arrangement == ()
