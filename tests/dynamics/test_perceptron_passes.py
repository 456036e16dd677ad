"""Passes that are written out for perceptrons give what autograd gives, and know their limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lyapopt.dynamics import Training, TrainingMap

D = torch.float64
ACTIVATIONS: list[Callable[[], nn.Module]] = [
    nn.Identity,
    nn.Sigmoid,
    nn.Tanh,
    nn.ReLU,
    nn.GELU,
    lambda: nn.GELU(approximate="tanh"),
    lambda: nn.ELU(0.7),
    lambda: nn.LeakyReLU(0.2),
    nn.SiLU,
    lambda: nn.Softplus(beta=2.0),
]


def make(k: int, loss: nn.Module, *, own_data: bool = False, bias: bool = True) -> Training:
    torch.manual_seed(100 + k if own_data else 100)
    x, y = torch.randn(24, 2, 3, dtype=D), torch.randn(24, 4, dtype=D)
    target = y.argmax(1) if isinstance(loss, nn.CrossEntropyLoss) else y
    torch.manual_seed(k)
    first, second = (ACTIVATIONS[(k + j) % len(ACTIVATIONS)]() for j in range(2))
    layers = [nn.Linear(6, 5, bias=bias), first, nn.Linear(5, 7), second, nn.Linear(7, 4)]
    model = nn.Sequential(nn.Flatten(), *layers).to(D)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Training(model, loss, optimizer, (x, target), batch_size=8, seed=k if own_data else 0)


def by_passes_and_by_autograd(step: TrainingMap, z: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Gradients and losses at `z` in both ways."""
    ways = step._gradients._batched
    assert ways is not None
    assert ways._passes is not None
    rows, batch = z.flatten(0, 1), step._batches.at(1, z.shape[1])
    made = ways(rows, rows[:, :0], batch, 1)
    recorded = ways._recorded(rows, rows[:, :0], batch, 1, ways._of_trajectories(rows))
    return [(made[0], recorded[0]), (made[1], recorded[1])]


@pytest.mark.parametrize("own_data", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.CrossEntropyLoss()])
def test_gradients_and_losses_are_those_of_autograd(
    loss: nn.Module, bias: bool, own_data: bool
) -> None:
    trainings = [make(k, loss, own_data=own_data, bias=bias) for k in range(len(ACTIVATIONS))]
    step = TrainingMap(trainings)
    z = step.initial_state().repeat(1, 3, 1)
    z += 0.1 * torch.randn(z.shape, dtype=D, generator=torch.Generator().manual_seed(0))
    for found, expected in by_passes_and_by_autograd(step, z):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_a_row_has_the_same_bits_alone_and_in_company() -> None:
    trainings = [make(k, nn.CrossEntropyLoss()) for k in range(len(ACTIVATIONS))]
    step = TrainingMap(trainings)
    z = step.initial_state()
    chosen = [7, 2, 3]
    few, of_few = step.select(chosen), z[chosen]
    for t in range(5):
        z, of_few = step(z, t), few(of_few, t)
        z, of_few = step.step_with_losses(z, t)[0], few.step_with_losses(of_few, t)[0]
        assert torch.equal(z[chosen], of_few)


def test_a_model_that_does_more_than_its_layers_is_left_to_autograd() -> None:
    def recognised(training: Training) -> bool:
        ways = TrainingMap([training])._gradients._batched
        return ways is not None and ways._passes is not None

    plain = make(1, nn.MSELoss())
    assert recognised(plain)
    hooked = make(1, nn.MSELoss())
    hooked.model[1].register_forward_hook(lambda module, args, output: 2 * output)
    smoothed = make(1, nn.CrossEntropyLoss(label_smoothing=0.1))
    ignoring = make(1, nn.CrossEntropyLoss(ignore_index=0))
    frozen = make(1, nn.MSELoss())
    frozen.model[1].weight.requires_grad_(False)
    tied = make(1, nn.MSELoss())
    tied.model.append(nn.Linear(4, 4, dtype=D)).append(tied.model[-1])
    tied.optimizer.add_param_group({"params": tied.model[-1].parameters()})
    for other in (hooked, smoothed, ignoring, frozen, tied):
        assert not recognised(other)
