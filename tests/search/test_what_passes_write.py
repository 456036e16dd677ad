"""What passes write into data, weights and losses stays theirs, and is measured as trained."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from doors import DOORS, bits, by_spectrum, everything
from optuna.trial import FixedTrial
from torch import Tensor, nn

import lyapopt
from lyapopt.probe import Probe

X = torch.linspace(-1, 1, 24).view(24, 1)
DTYPES = [torch.float32, torch.float64]


def parts(make: Callable[[], nn.Module], dtype: torch.dtype, lr: float = 0.1) -> tuple[Any, Any]:
    """Model and optimiser."""
    torch.manual_seed(0)
    model = make().to(dtype)
    return model, torch.optim.SGD(model.parameters(), lr=lr)


def exponents(make, loss_fn, data, dtype=torch.float32, steps=6) -> list[float]:
    """By a probe, by `training_exponent`, and in a loop that is watched and trains."""
    model, optimizer = parts(make, dtype)
    [probed] = Probe(horizon=steps).measure([lyapopt.Training(model, loss_fn, optimizer, data)])
    found = lyapopt.training_exponent(model, loss_fn, optimizer, data, horizon=steps, neighbours=1)
    monitor = lyapopt.watch(None, model, optimizer, loss_fn, horizon=steps)
    for _ in range(steps):
        x, y = (tensor.clone() for tensor in data)
        monitor.observe(x, y)
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        optimizer.step()
    return [probed.exponent, found.value.item(), monitor.exponent]


class Scaling(nn.Linear):
    """Writes into its batch."""

    def forward(self, x):
        return super().forward(x.mul_(2))


class Scaled(nn.Linear):
    def forward(self, x):
        return super().forward(2 * x)


def clamping(outputs, target):
    return F.mse_loss(outputs, target.clamp_(max=0.5))


def clamped(outputs, target):
    return F.mse_loss(outputs, target.clamp(max=0.5))


WRITES_INTO_DATA = {
    "the model": (lambda: Scaling(1, 1), F.mse_loss),
    "a layer of torch's": (
        lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(1, 1)),
        nn.MSELoss(),
    ),
    "the loss": (lambda: nn.Linear(1, 1), clamping),
}


def by_objective_in_full_batches(model, loss_fn, optimizer, data):
    training = lyapopt.Training(model, loss_fn, optimizer, data, validation=data, steps=5)
    objective = lyapopt.Objective(lambda params: training, {"lr": [0.1]}, probe=Probe(3))
    objective(FixedTrial({"lr": 0.1}))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("door", [*DOORS, by_objective_in_full_batches])
@pytest.mark.parametrize("name", WRITES_INTO_DATA)
def test_data_that_passes_write_into_are_left_as_they_were(name, door, dtype):
    make, loss_fn = WRITES_INTO_DATA[name]
    model, optimizer = parts(make, dtype, 1e-3)
    data = X.to(dtype).repeat(3, 1), X.to(dtype).repeat(3, 1)
    before = bits(data), everything(model, loss_fn, optimizer)
    try:
        door(model, loss_fn, optimizer, data)
    except lyapopt.UserError:
        assert door is by_spectrum  # what has no tangents
    assert (bits(data), everything(model, loss_fn, optimizer)) == before


def test_every_copy_is_given_the_batch_as_it_was():
    data = X, 0.3 * X + 0.5
    for writing, plain in (
        ((lambda: Scaling(1, 1), F.mse_loss), (lambda: Scaled(1, 1), F.mse_loss)),
        ((lambda: nn.Linear(1, 1), clamping), (lambda: nn.Linear(1, 1), clamped)),
    ):
        assert exponents(*writing, data) == pytest.approx(exponents(*plain, data), rel=1e-6)


class Differentiating(nn.Module):
    """Fits a function and its derivative, as networks for equations of physics do."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, x):
        x.requires_grad_()
        outputs = self.w * x
        (slope,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
        return outputs, slope


class DifferentiatingACopy(Differentiating):
    def forward(self, x):
        return super().forward(x.detach().clone())


def of_slopes(outputs, target):
    return F.mse_loss(outputs[1], torch.zeros_like(target))


@pytest.mark.parametrize("kind", [Differentiating, DifferentiatingACopy])
def test_a_model_that_differentiates_by_its_inputs_is_measured_at_every_door(kind):
    # The loss is w squared: a step multiplies w by 1 - 2 * .1.
    found = exponents(kind, of_slopes, (X, X))
    assert found == pytest.approx([math.log(0.8)] * 3, rel=1e-6)
    for dtype in DTYPES:
        model, optimizer = parts(kind, dtype)
        data = X.to(dtype), X.to(dtype)
        by_objective_in_full_batches(model, of_slopes, optimizer, data)
        assert not any(tensor.requires_grad for tensor in data)


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.fc = nn.Embedding(5, 3, max_norm=0.5), nn.Linear(3, 1)

    def forward(self, x):
        return self.fc(self.embedding(x))


class Clamping(nn.Linear):
    def forward(self, x):
        self.weight.data.clamp_(-0.1, 0.1)
        return super().forward(x)


WRITES_INTO_WEIGHTS = {
    "torch's own": lambda: nn.Sequential(nn.Embedding(5, 3, max_norm=0.5), nn.Linear(3, 1)),
    "in a class": Embedded,
    "by data": Clamping,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", WRITES_INTO_WEIGHTS)
def test_weights_that_passes_write_into_are_left_as_they_were(name, door, dtype):
    make = (lambda: Clamping(1, 1)) if name == "by data" else WRITES_INTO_WEIGHTS[name]
    model, optimizer = parts(make, dtype, 1e-3)
    x = X.to(dtype) if name == "by data" else torch.arange(24) % 5
    y = X.to(dtype)
    data = x.repeat(3, *[1] * (x.dim() - 1)), y.repeat(3, 1)
    before = everything(model, F.mse_loss, optimizer)
    try:
        door(model, F.mse_loss, optimizer, data)
    except lyapopt.UserError:
        assert door is by_spectrum
    assert everything(model, F.mse_loss, optimizer) == before


class InBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))

    def keep(self, outputs: Tensor) -> None:
        self.mean.mul_(0.9).add_(outputs.detach().mean(0))

    def forward(self, outputs, target):
        self.keep(outputs)
        return F.mse_loss(outputs - self.mean, target)


class InAttribute(InBuffer):
    def __init__(self):
        nn.Module.__init__(self)
        self.mean = torch.zeros(1)


class Anew(InAttribute):
    def keep(self, outputs):
        self.mean = 0.9 * self.mean + outputs.detach().mean(0)


class InPart(InAttribute):
    """Writes into a view of what it keeps."""

    def keep(self, outputs):
        self.mean[0].add_(outputs.detach().mean())


class Large(InBuffer):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(20_000, 1))

    def forward(self, outputs, target):
        self.keep(outputs)
        return F.mse_loss(outputs - self.mean[0], target)


KEPT = torch.zeros(1)


def in_global(outputs, target):
    KEPT.add_(outputs.detach().mean())
    return F.mse_loss(outputs - KEPT, target)


CALLS = 0


def counted_in_global(outputs, target):
    global CALLS
    CALLS += 1
    return F.mse_loss(outputs, target) * min(1.0, CALLS / 100)


def nonlocal_one():
    kept = torch.zeros(1)

    def loss_fn(outputs, target):
        nonlocal kept
        kept = kept + outputs.detach().mean()
        return F.mse_loss(outputs - kept, target)

    return loss_fn


LOSSES = [
    InBuffer,
    InAttribute,
    Anew,
    InPart,
    Large,
    lambda: in_global,
    lambda: counted_in_global,
    nonlocal_one,
]


def kept_by(loss_fn) -> Any:
    if isinstance(loss_fn, nn.Module):
        return [bits(value) for value in (*loss_fn.buffers(), vars(loss_fn).get("mean"))]
    return CALLS, bits(KEPT), [bits(cell.cell_contents) for cell in loss_fn.__closure__ or ()]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", LOSSES)
def test_a_loss_that_keeps_tensors_is_refused_in_the_same_words_and_left_as_it_was(make, dtype):
    for door in DOORS:
        model, optimizer = parts(lambda: nn.Linear(1, 1), dtype)
        loss_fn = make().to(dtype) if isinstance(make(), nn.Module) else make()
        before = kept_by(loss_fn)
        with pytest.raises(Exception, match="what the pass before has left behind"):
            door(model, loss_fn, optimizer, (X.to(dtype), X.to(dtype)))
        assert kept_by(loss_fn) == before, door


class Noting(InBuffer):
    """Keeps something that no loss depends on."""

    def forward(self, outputs, target):
        self.keep(outputs)
        return F.mse_loss(outputs, target)


def test_what_a_loss_notes_without_effect_is_its_owners_and_changes_no_exponent():
    data = X, 0.3 * X
    loss_fn = Noting()
    for dtype in DTYPES:
        for door in DOORS:
            model, optimizer = parts(lambda: nn.Linear(1, 1), dtype, 1e-3)
            door(model, loss_fn.to(dtype), optimizer, (data[0].to(dtype), data[1].to(dtype)))
            assert float(loss_fn.mean) == 0, door
    plain = exponents(lambda: nn.Linear(1, 1), F.mse_loss, data)
    assert exponents(lambda: nn.Linear(1, 1), Noting(), data) == pytest.approx(plain, rel=1e-6)
