"""A wrong derivative is refused, and what has none at a point is not taken for one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from lyapopt.dynamics import Training, stack
from lyapopt.errors import UserError
from lyapopt.exponents import from_neighbours, from_tangents, spectrum

D = torch.float64


class Net(nn.Module):
    """Two layers with any function between them, and a scale and a shift for it."""

    def __init__(self, between, zero_bias=False):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(2, 4, dtype=D), nn.Linear(4, 1, dtype=D)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 4, dtype=D))
        self.shift = nn.Parameter(torch.linspace(-1, 1, 4, dtype=D))
        self.between = between
        if zero_bias:
            nn.init.zeros_(self.first.bias)

    def forward(self, x):
        return self.last(self.between(self.first(x), self.scale, self.shift))


def map_of(between, optimizer=torch.optim.SGD, zero_bias=False, loss_fn=None, lr=0.1):
    model = Net(between, zero_bias)
    x = torch.randn(8, 2, dtype=D, generator=torch.Generator().manual_seed(1))
    x[0] = 0.0
    data = (x, x[:, :1].sin())
    training = Training(model, loss_fn or nn.MSELoss(), optimizer(model.parameters(), lr=lr), data)
    [(_, step)] = stack([training])
    return step


def aten_batch_norm(h, w, b):
    return torch.ops.aten.native_batch_norm(h, w, b, None, None, True, 0.1, 1e-5)[0].tanh()


RIGHT = {
    "torch.batch_norm": (
        lambda h, w, b: torch.batch_norm(h, w, b, None, None, True, 0.1, 1e-5, False).tanh(),
        lambda h, w, b: F.batch_norm(h, None, None, w, b, True).tanh(),
    ),
    "torch.layer_norm": (
        lambda h, w, b: torch.layer_norm(h, (4,), w, b).tanh(),
        lambda h, w, b: F.layer_norm(h, (4,), w, b).tanh(),
    ),
    "torch.instance_norm": (
        lambda h, w, b: torch.instance_norm(
            h.view(-1, 2, 2), w[:2], b[:2], None, None, True, 0.1, 1e-5, False
        ).reshape(-1, 4),
        lambda h, w, b: F.instance_norm(h.view(-1, 2, 2), weight=w[:2], bias=b[:2]).reshape(-1, 4),
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_norm_called_directly_has_the_exponents_of_the_layer(name):
    direct, layer = (map_of(between) for between in RIGHT[name])
    z = direct.initial_state()
    found, expected = (spectrum(step, z, 5, k=3) for step in (direct, layer))
    torch.testing.assert_close(found.values, expected.values, rtol=0, atol=1e-10)
    near = from_neighbours(direct, z, 5, neighbours=3, radius=1e-6)
    tangents = from_tangents(direct, z, 5, tangents=3)
    torch.testing.assert_close(near.value, tangents.value, rtol=0, atol=1e-5)


class WrongSquare(torch.autograd.Function):
    """A square whose forward-mode derivative forgets the 2."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad

    @staticmethod
    def jvp(ctx, tangent):
        return ctx.saved_tensors[0] * tangent


WRONG = {
    "a fused norm of aten": lambda: map_of(aten_batch_norm),
    "the same under adam": lambda: map_of(aten_batch_norm, torch.optim.Adam, lr=1e-3),
    "the same at a tiny rate": lambda: map_of(aten_batch_norm, lr=1e-4),
    "something detached": lambda: map_of(lambda h, w, b: h * h.detach()),
    "a function of one's own": lambda: lambda z, t: WrongSquare.apply(z),
    "a map that detaches": lambda: lambda z, t: 4 * z * (1 - z.detach()),
}


@pytest.mark.parametrize("estimator", [spectrum, from_tangents])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_derivative_is_refused(name, estimator):
    step = WRONG[name]()
    z = torch.full((2, 1, 3), 0.3, dtype=D)
    z = step.initial_state() if hasattr(step, "initial_state") else z
    with pytest.raises(UserError, match="derivative of the map is wrong: at step 0 of system 0"):
        estimator(step, z, 3)
    assert from_neighbours(step, z, 3, neighbours=2).value.isfinite().all()


def relu(h, w, b):
    return h.relu()


def tanh(h, w, b):
    return h.tanh()


FINE = {
    "a unit exactly at its kink": lambda: map_of(relu, zero_bias=True),
    "adam where a gradient is exactly zero": lambda: map_of(
        relu, torch.optim.Adam, zero_bias=True, lr=1e-3
    ),
    "an absolute loss at zero": lambda: map_of(tanh, loss_fn=nn.L1Loss(), zero_bias=True),
    "a rate of nearly nothing": lambda: map_of(tanh, lr=1e-14),
    "a rate beyond all bounds": lambda: map_of(tanh, lr=1e200),
    "a step across a jump": lambda: lambda z, t: (2 * z) % 1.0,
    "a tent at its top": lambda: lambda z, t: 1 - (2 * z - 1).abs(),
    "the identity": lambda: lambda z, t: z.clone(),
    "a constant": lambda: lambda z, t: 0 * z + 0.5,
}


@pytest.mark.parametrize("name", FINE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kinks_jumps_and_rounding_are_no_wrong_derivatives(name, dtype):
    step = FINE[name]()
    if hasattr(step, "initial_state"):
        spectrum(step, step.initial_state(), 2)
    else:
        spectrum(step, torch.full((1, 1, 2), 0.5, dtype=dtype), 2)


def test_a_zero_last_layer_under_adam_is_no_wrong_derivative():
    model = Net(tanh)
    nn.init.zeros_(model.last.weight)
    x = torch.randn(8, 2, dtype=D, generator=torch.Generator().manual_seed(1))
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    [(_, step)] = stack([Training(model, nn.MSELoss(), adam, (x, x[:, :1]))])
    spectrum(step, step.initial_state(), 2, k=2)


@pytest.mark.parametrize("between", [relu, tanh, RIGHT["torch.batch_norm"][0]])
def test_networks_in_float32_pass(between):
    model = Net(between).float()
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    for lr in (1e-5, 1e-2, 1.0):
        sgd = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        [(_, step)] = stack([Training(model, nn.MSELoss(), sgd, (x, x[:, :1]))])
        from_tangents(step, step.initial_state(), 2)
