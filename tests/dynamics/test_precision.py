"""Twins in float64: the same network, whatever its forward pass makes for itself."""

import copy
import functools
import random
import threading

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import torch.utils.checkpoint
from networks_of_users import NETWORKS
from torch import nn

from lyapopt.dynamics import Training, stack
from lyapopt.dynamics.one_precision import InFloat64
from lyapopt.dynamics.precision import float64_twin, in_dtype, precision_of
from lyapopt.errors import PrecisionError, TrainingError
from lyapopt.exponents import derivatives
from lyapopt.probe import Probe, reference_of


def training_of(model: nn.Module) -> Training:
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Training(model, nn.MSELoss(), optimizer, (x, x[:, :1]))


CONSTANTS = {
    "zeros": lambda x: x + torch.zeros(3),
    "full with a dtype": lambda x: x * torch.full((3,), 0.1, dtype=torch.float32),
    "float": lambda x: x.float() * 0.1,
    "half and back": lambda x: x.half().float(),
    "to a dtype": lambda x: x.to(torch.float32),
    "to another tensor": lambda x: x.to(torch.ones(1)),
    "type": lambda x: x.type(torch.FloatTensor),
    "type by name": lambda x: x.type("torch.FloatTensor"),
    "linspace": lambda x: x * torch.linspace(0, 1, 3),
    "a list of tensors": lambda x: torch.cat([x, torch.ones(12, 3)], 1)[:, :3],
    "where": lambda x: torch.where(x > 0, x, torch.tensor(-0.1)),
    "an old constructor": lambda x: x * torch.FloatTensor([1, 2, 3]),
    "arange and sin": lambda x: x + torch.sin(torch.arange(3).float()),
    "fft": lambda x: (torch.fft.fft(x) * torch.ones(3, dtype=torch.cfloat)).real,
    "autocast": lambda x: torch.autocast("cpu", torch.bfloat16)(F.linear)(x, torch.eye(3)),
}


class Around(nn.Module):
    def __init__(self, constant):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 3), nn.Linear(3, 1)
        self.constant = constant

    def forward(self, x):
        return self.fc2(torch.tanh(self.constant(self.fc1(x))))


@pytest.mark.parametrize("name", CONSTANTS)
def test_what_a_forward_pass_makes_for_itself_follows_its_weights(name):
    """Central differences of 1e-6 are right to eight digits, which no float32 part would allow."""
    torch.manual_seed(0)
    twin = float64_twin(training_of(Around(CONSTANTS[name])))
    x, y = twin.data
    loss = twin.loss_fn(twin.model(x), y)
    [weight] = [p for n, p in twin.model.named_parameters() if n == "fc1.weight"]
    (slope,) = torch.autograd.grad(loss, weight)
    with torch.no_grad():
        weight[0, 0] += 1e-6
        above = twin.loss_fn(twin.model(x), y)
        weight[0, 0] -= 2e-6
        below = twin.loss_fn(twin.model(x), y)
    assert float(above - below) / 2e-6 == pytest.approx(float(slope[0, 0]), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_twin_leaves_its_network_as_it_was(name):
    training = NETWORKS[name].training(0.1)
    before = copy.deepcopy(training.model.state_dict())
    kinds = [type(part) for part in training.model.modules()]
    drawn = torch.get_rng_state()
    twin = float64_twin(training)
    assert precision_of(twin) == torch.float64
    assert precision_of(training) == torch.float32
    assert all(torch.equal(before[n], v) for n, v in training.model.state_dict().items())
    assert [type(part) for part in training.model.modules()] == kinds
    assert torch.equal(drawn, torch.get_rng_state())
    assert torch.get_default_dtype() == torch.float32
    assert all(t.dtype != torch.float64 for t in training.data)


def test_only_networks_that_need_it_pay_for_it():
    for name in ("cnn", "vae", "tied"):
        training = NETWORKS[name].training(0.1)
        assert type(float64_twin(training).model) is type(training.model)
    assert type(float64_twin(NETWORKS["mlp"].training(0.1)).model) is not type(
        NETWORKS["mlp"].training(0.1).model
    )


LOSS_WEIGHTS = torch.tensor([0.2, 1.0, 3.3])
LOSSES = {
    "a module": nn.CrossEntropyLoss(LOSS_WEIGHTS),
    "a partial": functools.partial(F.cross_entropy, weight=LOSS_WEIGHTS),
    "a closure": lambda z, y: F.cross_entropy(z, y, weight=LOSS_WEIGHTS),
    "one-hot": lambda z, y: F.mse_loss(z, F.one_hot(y, 3).float()) * torch.tensor([0.1]).mean(),
    "logits": lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], (y == 0).float()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_with_constants_leaves_plain_networks_in_stacks_across_activations(name):
    trainings = []
    for activation in (nn.Tanh(), nn.ReLU()):
        model = nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 3))
        x = torch.randn(12, 3)
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        trainings.append(Training(model, LOSSES[name], sgd, (x, x.argmax(1))))
    [(rows, step)] = stack([float64_twin(training) for training in trainings])
    assert rows == [0, 1]
    z, losses = step.step_with_losses(step.initial_state(), 0)
    assert z.dtype == losses.dtype == torch.float64


def test_hooks_of_a_network_follow_too():
    model = nn.Linear(3, 1)
    model.register_forward_hook(lambda part, given, out: out * torch.full((12, 1), 0.1).sin())
    twin = float64_twin(training_of(model))
    assert twin.model(twin.data[0]).dtype == torch.float64
    assert type(twin.model) is not type(model)


def test_the_context_is_that_of_its_thread():
    found = []
    with InFloat64():
        thread = threading.Thread(target=lambda: found.append(torch.zeros(1).dtype))
        thread.start()
        thread.join()
        assert torch.zeros(1).dtype == torch.float64
    assert found == [torch.float32]


def test_what_a_pass_writes_into_narrower_tensors_is_in_them():
    x = torch.full((2,), 0.5, dtype=torch.float64)
    one, rows, view, out = torch.zeros(2), torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2)
    with InFloat64():
        assert one.mul_(0.9).add_(x) is one
        rows[0] = x
        rows[1].fill_(2.0)
        first = view[0]
        first += 1
        view.t()[1, 1] = 5.0
        assert float((view * 1).sum()) == 7
        torch.add(x, x, out=out)
        assert F.relu(one - 1, inplace=True).dtype == torch.float64
    assert one.tolist() == [0.5, 0.5]
    assert rows.tolist() == [[0.5, 0.5], [2, 2]]
    assert view.tolist() == [[1, 1], [0, 5]]
    assert out.tolist() == [1, 1]


class NowAndThen(nn.Module):
    """Makes constants in a part of its passes, as a number that it draws says."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x):
        hidden = torch.tanh(self.fc1(x))
        if random.random() < 0.3:
            hidden = hidden.float() @ torch.eye(4)
        return self.fc2(hidden)


class Always(NowAndThen):
    def forward(self, x):
        random.random()
        return self.fc2(torch.tanh(self.fc1(x)))


def test_constants_that_only_later_passes_make_follow_too():
    found = []
    for kind in (NowAndThen, Always):
        torch.manual_seed(0)
        [measured] = Probe(horizon=12).measure([training_of(kind())])
        found.append(measured.exponent)
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_constants_and_loss_weights_still_stack():
    networks = [NETWORKS["class weights"].training(lr) for lr in (0.01, 0.1, 1.0)]
    assert [rows for rows, _ in stack(map(float64_twin, networks))] == [[0, 1, 2]]


class Strict(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 1)

    def forward(self, x):
        if x.dtype != torch.float32:
            raise TypeError("only float32")
        return self.fc(x)


@functools.cache
def traced():
    return torch.jit.trace(lambda x: x.to(torch.float32) * 2, torch.ones(2, 1))


class InAnotherPlace(Strict):
    """Computes a part in float32 where no context reaches: in a traced function."""

    def __init__(self):
        super().__init__()
        traced()

    def forward(self, x):
        return traced()(self.fc(x))


class Recomputed(nn.Module):
    """Makes its constants again in the backward pass, where no context reaches."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 1)

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.part, x, use_reentrant=False)

    def part(self, x):
        return self.fc(x + torch.zeros(12, 3).sin()) * torch.ones(12, 1).cos()


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
@pytest.mark.parametrize("make", [Strict, InAnotherPlace])
def test_what_cannot_run_in_float64_is_measured_by_tangents_in_float32(make):
    torch.manual_seed(0)
    training = training_of(make())
    with pytest.raises(PrecisionError):
        float64_twin(training)
    reference = reference_of(training, Probe())
    assert (reference.training, reference.estimator) == (training, "tangent")


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
def test_what_has_no_float64_and_no_tangents_is_refused_before_it_is_trained():
    training = training_of(Recomputed())
    with pytest.raises(PrecisionError, match="neither in float64"):
        reference_of(training, Probe())


def test_tangents_in_float32_agree_with_neighbours_in_float64():
    torch.manual_seed(0)
    strict = Strict()
    [m] = Probe(horizon=10, neighbours=2).measure([training_of(strict)])
    assert (m.dtype, m.estimator) == ("float32", "tangent")
    assert m.gradient_evaluations == 50 + derivatives.COST
    plain = nn.Linear(3, 1)
    plain.load_state_dict(strict.fc.state_dict())
    [twin] = Probe(horizon=10, neighbours=2).measure([training_of(plain)])
    assert (twin.dtype, twin.estimator, twin.gradient_evaluations) == ("float64", "neighbours", 30)
    assert m.exponent == pytest.approx(twin.exponent, abs=1e-4)


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (Probe(estimator="neighbours"), "estimator is neighbours"),
        (Probe(distance="outputs"), "distance is outputs"),
    ],
)
def test_what_can_be_measured_in_no_way_is_refused_with_both_reasons(probe, reason):
    with pytest.raises(PrecisionError, match=f"only float32.*{reason}"):
        probe.measure([training_of(Strict())])


def test_a_mistake_of_the_users_is_reported_as_theirs():
    class Broken(Strict):
        def forward(self, x):
            return self.fc(x[:, :2])

    with pytest.raises(TrainingError, match="shapes cannot be multiplied"):
        Probe().measure([training_of(Broken())])
    hooked = training_of(nn.Linear(3, 1))
    hooked.model.weight.register_hook(lambda g: g * 2)
    with pytest.raises(TrainingError, match="hook"):
        Probe().measure([hooked])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_networks_in_half_precision_are_measured_too(dtype):
    torch.manual_seed(0)
    half = in_dtype(training_of(nn.Linear(3, 1)), dtype)
    [m] = Probe(horizon=10).measure([half])
    [twin] = Probe(horizon=10).measure([float64_twin(half)])
    assert (m.dtype, m.exponent) == ("float64", twin.exponent)


def test_schedules_and_optimizer_states_go_with_a_twin():
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    x = torch.randn(12, 3)
    nn.functional.mse_loss(model(x), x[:, :1]).backward()
    optimizer.step()
    training = Training(model, nn.MSELoss(), optimizer, (x, x[:, :1]), scheduler=schedule)
    twin = float64_twin(training)
    assert twin.scheduler.optimizer is twin.optimizer is not optimizer
    slots = twin.optimizer.state[twin.model.weight]
    assert slots["exp_avg"].dtype == torch.float64
    assert slots["step"] == 1
    [(_, own)], [(_, wide)] = stack([training]), stack([twin])
    narrow, z = own.initial_state(), wide.initial_state()
    for t in range(8):
        narrow, z = own(narrow, t), wide(z, t)
    assert torch.allclose(narrow.double(), z, atol=1e-5)
