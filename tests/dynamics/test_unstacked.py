"""What cannot be stacked runs through the same interface, and gives what a stack would give."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from training_oracle import RealTraining, network, regression, training_with

from lyapopt.dynamics import Training, TrainingMap, UnstackedMap, stack
from lyapopt.dynamics.unstacked import UnstackedSystem
from lyapopt.errors import NotStackableError, TrainingError, UserError
from lyapopt.exponents import derivatives, from_neighbours, from_tangents, spectrum

D = torch.float64


class Branch(nn.Module):
    """Takes one of two ways, which depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 2, dtype=D)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return y if y.sum() > 0 else 2 * y


def noisy() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(3, 6, dtype=D),
        nn.BatchNorm1d(6, dtype=D),
        nn.Tanh(),
        nn.Dropout(0.3),
        nn.Linear(6, 2, dtype=D),
    )


def training(model: nn.Module, make: Callable[[Any], Any], **own: Any) -> Training:
    return Training(
        model, nn.MSELoss(), make(model.parameters()), regression(), batch_size=4, **own
    )


def alone(own: Training) -> UnstackedMap:
    return UnstackedMap([UnstackedSystem(own, "it was asked for")])


def only(own: Training) -> UnstackedMap:
    [(positions, step)] = stack([own])
    assert positions == [0]
    assert isinstance(step, UnstackedMap)
    return step


SGD, ADAM, RMSPROP = torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop
KNOWN: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: SGD(p, lr=0.1, momentum=0.9, dampening=0.2, weight_decay=0.01),
    "adam": lambda p: ADAM(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: RMSPROP(p, lr=0.01, centered=True, momentum=0.5),
}


@pytest.mark.parametrize("name", KNOWN)
def test_unstacked_agrees_with_the_stack_where_both_can_run(name: str) -> None:
    own = training(noisy(), KNOWN[name], scheduler=lambda t: 1 / (1 + t), clip_grad_norm=0.5)
    one, stacked = alone(own), TrainingMap([own])
    away = torch.zeros(1, 2, len(stacked.initial_state()[0, 0]), dtype=D)
    away[0, 1, :5] = 1e-3
    z = stacked.initial_state() + away
    u = one.initial_state().repeat(1, 2, 1)
    u[0, 1, :5] += 1e-3
    for t in range(5):
        z, losses = stacked.step_with_losses(z, t)
        u, own_losses = one.step_with_losses(u, t)
        torch.testing.assert_close(own_losses, losses, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(one.weights(u), stacked.weights(z), rtol=1e-7, atol=1e-8)
    assert one.evaluate(u).losses == pytest.approx(stacked.evaluate(z).losses, rel=1e-6)
    torch.testing.assert_close(one.outputs(u, 7), stacked.outputs(z, 7), rtol=1e-6, atol=1e-8)
    assert one.gradient_evaluations == stacked.gradient_evaluations == 10
    assert one.examples == stacked.examples


def test_exponents_agree_with_those_of_the_stack() -> None:
    own = training(noisy(), KNOWN["sgd"])
    one, stacked = alone(own), TrainingMap([own])
    found = from_neighbours(one, one.initial_state(), 10, neighbours=2).value
    expected = from_neighbours(stacked, stacked.initial_state(), 10, neighbours=2).value
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


FOREIGN = ["Adagrad", "Rprop", "NAdam", "RAdam", "Adadelta", "Adamax", "ASGD", "Adafactor"]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_optimizer_does_what_torch_does(name: str) -> None:
    own = training_with(lambda m: getattr(torch.optim, name)(m.parameters(), lr=0.01), seed=3)
    step, real = only(own), RealTraining(own)
    z = step.initial_state()
    for t in range(20):
        z, losses = step.step_with_losses(z, t)
        torch.testing.assert_close(losses[0, 0], real.step(t), rtol=1e-12, atol=0)
    expected = torch.cat([p.detach().reshape(-1) for p in real.training.model.parameters()])
    torch.testing.assert_close(step.weights(z)[0, 0], expected, rtol=1e-12, atol=1e-14)


def test_an_optimizer_that_has_stepped_already_goes_on() -> None:
    real = RealTraining(training_with(lambda m: torch.optim.NAdam(m.parameters(), lr=0.01)))
    for t in range(5):
        real.step(t)
    step = only(real.training)
    z = step.initial_state()
    for t in range(5):
        z, losses = step.step_with_losses(z, t)
        torch.testing.assert_close(losses[0, 0], real.step(t), rtol=1e-12, atol=0)


def test_trajectories_see_the_same_random_numbers() -> None:
    class Noise(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + torch.randn_like(x))

    step = only(training(Noise(3, 2, dtype=D), lambda p: SGD(p, lr=0.1)))
    z = step.initial_state().repeat(1, 3, 1)
    for t in range(4):
        before = z
        z = step(z, t)
        assert not torch.equal(z, before)
    assert torch.equal(z, z[:, :1].expand_as(z))
    assert torch.equal(step(before, 3), z)


def test_why_a_training_is_not_stacked_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    sys.modules["lyapopt.dynamics.stack"]._say.cache_clear()
    with caplog.at_level(logging.WARNING, "lyapopt"):
        maps = stack([training(Branch(), lambda p: SGD(p, lr=0.1)) for _ in range(2)])
    assert [positions for positions, _ in maps] == [[0], [1]]
    assert len(caplog.records) == 1
    assert "unstacked" in caplog.text
    assert "control flow" in caplog.text


def test_control_flow_may_depend_on_data() -> None:
    own = training(Branch(), lambda p: SGD(p, lr=0.1, momentum=0.5))
    step, real = only(own), RealTraining(own)
    z = step.initial_state()
    for t in range(10):
        z, losses = step.step_with_losses(z, t)
        assert losses[0, 0] == real.step(t)
    assert from_neighbours(step, step.initial_state(), 10).value.isfinite().all()


def test_nothing_of_the_user_changes() -> None:
    own = training(noisy(), torch.optim.NAdam)
    kept = copy.deepcopy(own.model.state_dict())
    drawn = torch.random.get_rng_state()
    step = only(own)
    z = step(step.initial_state(), 0)
    step.evaluate(z)
    assert torch.equal(drawn, torch.random.get_rng_state())
    assert all(torch.equal(value, kept[name]) for name, value in own.model.state_dict().items())
    assert not own.optimizer.state
    [model] = step.models(z)
    assert model.training
    assert not torch.equal(model[0].weight, own.model[0].weight)


def test_modules_keep_their_own_modes() -> None:
    model = noisy()
    model[1].eval()
    step = only(training(model, torch.optim.NAdam))
    z = step.initial_state()
    step.evaluate(z)
    z = step(z, 0)
    [after] = step.models(z)
    assert torch.equal(after[1].running_mean, model[1].running_mean)


def test_a_first_step_in_the_state_is_told_from_later_ones() -> None:
    step = only(training(network(), lambda p: torch.optim.Rprop(p, lr=0.01)))
    first = step.initial_state()
    second = step(first, 0)
    assert torch.equal(step(first, 0), second)
    assert not torch.equal(step(second, 1), second)


def with_closure() -> Training:
    return training(network(), torch.optim.LBFGS)


def with_model_in_loss() -> Training:
    model = network()
    own = training(model, torch.optim.NAdam)
    own.loss_fn = lambda o, y: F.mse_loss(o, y) + sum(p.square().sum() for p in model.parameters())
    return own


def with_step_hook() -> Training:
    own = training(network(), torch.optim.NAdam)
    own.optimizer.register_step_post_hook(lambda *args: None)
    return own


class Counting(SGD):
    """Keeps a number where no neighbour has its own."""

    calls = 0

    def step(self, closure: Any = None) -> Any:
        self.calls = self.calls + 1
        return super().step(closure)


def with_counter() -> Training:
    own = training(network(), lambda p: Counting(p, lr=0.1))
    vars(own.optimizer)["calls"] = 0
    return own


REFUSED = {
    "closure": (with_closure, "LBFGS evaluates the loss as often"),
    "loss with the model inside": (with_model_in_loss, "loss reads something"),
    "step hook": (with_step_hook, "hook on a parameter or on the optimizer"),
    "counter": (with_counter, "attributes of the optimizer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_neighbour_could_have_of_its_own_is_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises((NotStackableError, TrainingError), match=message):
        stack([make()])


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    **KNOWN,
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.02),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.02),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.02),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.02),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_tangents_through_real_optimizers_grow_as_neighbours_do(name: str) -> None:
    """Momentum begins detached, and a dead unit has second moments of zero."""
    model = noisy()
    model[1] = nn.ReLU()
    with torch.no_grad():
        model[0].bias[0] = -100
    step = alone(training(model, OPTIMIZERS[name], clip_grad_norm=0.5))
    z = step.initial_state()
    found = from_tangents(step, z, 12, tangents=2, seed=3)
    near = from_neighbours(step, z, 12, neighbours=2, radius=1e-8, seed=3)
    assert found.value.item() == pytest.approx(near.value.item(), abs=1e-5)
    torch.testing.assert_close(found.losses, near.losses[..., :1])
    assert found.gradient_evaluations == (1 + 2 * 2) * 12 + derivatives.COST


def test_the_spectrum_of_a_network_with_branches_is_that_of_its_twin_without() -> None:
    def values(model: nn.Module) -> Tensor:
        [(_, step)] = stack([training(model, lambda p: SGD(p, lr=0.1, momentum=0.9))])
        return spectrum(step, step.initial_state(), 5, k=3).values

    plain = nn.Linear(3, 2, dtype=D)
    branch = Branch()
    with torch.no_grad():
        branch.linear.bias.fill_(50.0)  # always the first way
    plain.load_state_dict(branch.linear.state_dict())
    torch.testing.assert_close(values(branch), values(plain))


class Averaging(nn.Linear):
    """Reads what its last pass has written."""

    def __init__(self) -> None:
        super().__init__(3, 2, dtype=D)
        self.register_buffer("mean", torch.zeros(2, dtype=D))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.mean.mul_(0.9).add_(y.detach().mean(0))
        return y - self.mean


def test_tangents_where_a_pass_reads_a_buffer_that_passes_write_are_refused() -> None:
    step = alone(training(Averaging(), lambda p: SGD(p, lr=0.1)))
    with pytest.raises(NotStackableError, match="reads a buffer that the pass before"):
        from_tangents(step, step.initial_state(), 3)


class WithoutSecond(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad


def test_tangents_of_an_operation_without_second_derivatives_are_refused() -> None:
    class Twice(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return WithoutSecond.apply(super().forward(x))

    step = alone(training(Twice(3, 2, dtype=D), lambda p: SGD(p, lr=0.1)))
    with pytest.raises(UserError, match=r"an autograd\.Function"):
        from_tangents(step, step.initial_state(), 3)
