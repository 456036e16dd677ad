"""Tangents through the whole update, and what a spectrum offers beside its values."""

from __future__ import annotations

import math

import exponent_oracle as oracle
import pytest
import torch
from torch import Tensor, nn

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.dynamics.systems import Henon, LinearMap
from lyapopt.errors import UserError
from lyapopt.exponents import from_neighbours, spectrum
from lyapopt.exponents.tangents import TangentStep

OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw-amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_tangents_and_neighbours_agree_on_networks(optimizer):
    training = oracle.mlp(
        (3, 4, 2),
        OPTIMIZERS[optimizer],
        batch_size=8,
        clip_grad_norm=1.0,
        scheduler=lambda t: 0.99**t,
    )
    step = TrainingMap([training])
    z = step.initial_state()
    for t in range(30):
        z = step.step_with_losses(z, t)[0]
    # The same direction from the same state: growth of the weights over one segment.
    P = step.weights(z).shape[-1]
    direction = torch.zeros_like(z)
    direction[..., :P] = torch.randn(P, generator=torch.Generator().manual_seed(1)).double()
    direction /= direction.norm()
    tangent, state, other = direction.view(1, 1, -1), z, z + 1e-7 * direction
    push = TangentStep(step, None)
    for t in range(30, 36):
        state, tangent = push(state, tangent, t)
        other = step(other, t)
    quotient = (other - state) / 1e-7
    torch.testing.assert_close(tangent[0], quotient[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_growth_in_the_weights_is_what_one_neighbour_measures(optimizer):
    step = TrainingMap([oracle.mlp((3, 4, 2), OPTIMIZERS[optimizer], batch_size=8)])
    z0 = step.initial_state()
    tangents = spectrum(step, z0, 12, k=1)
    found = from_neighbours(step, z0, 12, neighbours=1, radius=1e-8)
    torch.testing.assert_close(tangents.weight_value, found.value, rtol=0, atol=1e-6)
    torch.testing.assert_close(tangents.weight_increments, found.increments, rtol=0, atol=1e-5)


def test_buffers_of_batch_norm_are_part_of_the_state():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = torch.randn(16, 3).double()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    step = TrainingMap([Training(model, nn.MSELoss(), sgd, (x, x[:, :1]), batch_size=8)])
    z0 = step.initial_state()
    found = spectrum(step, z0, 20)
    assert found.values.shape[-1] == z0.shape[-1]
    # Nothing reads the 8 running statistics in training: they forget by 1 - 0.1 a step.
    near = (found.values[0] - math.log(0.9)).abs() < 0.15
    assert near.sum() >= 8


def test_a_map_that_cannot_be_nested_is_pushed_in_rows():
    def stubborn(z: Tensor, t: int) -> Tensor:
        if torch._C._functorch.maybe_current_level() == 2:
            raise RuntimeError("no batching rule")
        x, y = z.unbind(-1)
        return torch.stack([1 - 1.4 * x * x + y, 0.3 * x], -1)

    z0 = Henon().initial_state(3)
    found = spectrum(stubborn, z0, 40)
    torch.testing.assert_close(found.values, spectrum(Henon(), z0, 40).values, rtol=0, atol=1e-10)


def test_a_map_without_derivatives_is_refused_kindly():
    def numpy_map(z: Tensor, t: int) -> Tensor:
        return torch.from_numpy(z.numpy() * 2)

    with pytest.raises(UserError, match="from_neighbours"):
        spectrum(numpy_map, torch.ones(1, 1, 2).double(), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k"),
        ({"k": 3}, "dimensions"),
        ({"qr_every": 0}, "qr_every"),
        ({"chunk": 0}, "chunk"),
        ({"perturb": "biases"}, "perturb"),
        ({"horizon": 2.5}, "horizon"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_explained(change, message):
    arguments = {"step": Henon(), "z0": Henon().initial_state(1), "horizon": 3}
    with pytest.raises(UserError, match=message):
        spectrum(**{**arguments, **change})


def test_a_full_spectrum_of_a_large_state_must_be_asked_for():
    with pytest.raises(UserError, match="ask for the largest few"):
        spectrum(lambda z, t: z, torch.zeros(1, 1, 5000).double(), 1)


def test_alignment_grows_to_one():
    step = LinearMap(torch.diag(torch.tensor([1.2, 1.0, 0.5], dtype=torch.float64)))
    found = spectrum(step, torch.zeros(2, 1, 3).double(), 120)
    assert found.alignment is not None
    assert found.alignment.shape == (120, 2)
    assert (found.alignment[0] < 0.99).all()
    assert (found.alignment[-1] > 1 - 1e-9).all()
    assert spectrum(step, torch.zeros(1, 1, 3).double(), 5, k=1).alignment is None


def test_the_dimension_needs_enough_exponents():
    step = LinearMap(torch.diag(torch.tensor([2.0, 0.9, 0.1], dtype=torch.float64)))
    z0 = torch.zeros(1, 1, 3).double()
    whole = spectrum(step, z0, 30, burn_in=40)
    exact = 2 + (math.log(2) + math.log(0.9)) / -math.log(0.1)
    assert abs(whole.kaplan_yorke_dimension().item() - exact) < 1e-9
    part = spectrum(step, z0, 30, burn_in=40, k=2)
    assert math.isnan(part.kaplan_yorke_dimension().item())
    assert part.has_flag("truncated") == [True]
    assert whole.has_flag("truncated") == [False]
    shrinking = spectrum(LinearMap(0.5 * torch.eye(2).double()), z0[..., :2], 5)
    assert shrinking.kaplan_yorke_dimension().item() == 0


def test_perturbing_the_weights_alone_leaves_the_asymptotic_exponent():
    training = oracle.quadratic([2.0, 0.5], lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.3))
    step = TrainingMap([training])
    z0 = step.initial_state()
    values = [
        spectrum(step, z0, 30, k=1, burn_in=100, perturb=where).value.item()
        for where in ("weights", "state", None)
    ]
    assert max(values) - min(values) < 1e-9
    with pytest.raises(UserError, match="weight block"):
        spectrum(step, z0, 3, k=3, perturb="weights")


def test_both_estimators_leave_the_training_as_it_was():
    training = oracle.mlp((2, 3, 1), OPTIMIZERS["adam"], batch_size=6)
    before = [p.clone() for p in training.model.parameters()]
    step = TrainingMap([training])
    z0 = step.initial_state()
    kept = z0.clone()
    from_neighbours(step, z0, 4, neighbours=2)
    found = spectrum(step, z0, 4, k=2)
    assert all(map(torch.equal, before, training.model.parameters()))
    assert torch.equal(z0, kept)
    assert found.gradient_evaluations == (1 + 2 * 2) * 4 + 7  # with the check of the derivative
    assert found.final_state.shape == z0.shape
    assert found.final_tangents.shape == (1, 2, z0.shape[-1])


@pytest.mark.parametrize("order", [(0.5, 2.0), (2.0, 0.5)])
@pytest.mark.parametrize("horizon", [1, 2, 40])
def test_growth_in_the_weights_is_that_of_the_vector_that_grew_most(order, horizon):
    # Where all of the state are weights, the two are the same, whichever vector came first.
    step = LinearMap(torch.diag(torch.tensor(order, dtype=torch.float64)))
    z0 = torch.ones(4, 1, 2, dtype=torch.float64)
    found = spectrum(step, z0, horizon, seed=[0, 1, 2, 3])
    torch.testing.assert_close(found.weight_value, found.value, rtol=0, atol=1e-12)
    assert (found.weight_value > 0).all()
    torch.testing.assert_close(
        found.weight_increments, found.increments[..., 0], rtol=0, atol=1e-12
    )
