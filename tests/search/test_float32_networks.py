"""Float32 networks as people write them, by every door, against their twins in float64."""

import itertools

import optuna
import pytest
import torch
from networks_of_users import NETWORKS, Adam, Momentum, UserNetwork, table
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import RandomSampler

import lyapopt
from lyapopt.errors import PrecisionError, UserError
from lyapopt.exponents import derivatives
from lyapopt.probe import Measurement, Probe

Found = tuple[float, float | None, float | None, str]
"""Exponent, its interval, and verdict."""


def probe(network: UserNetwork, lr: float, dtype: torch.dtype) -> Found:
    [m] = Probe(horizon=12, neighbours=4).measure([network.training(lr, dtype)])
    return m.exponent, m.low, m.high, str(m.verdict)


def objective(network: UserNetwork, lr: float, dtype: torch.dtype) -> Found:
    study = optuna.create_study()
    found: list[Measurement] = []

    class Kept(lyapopt.Objective):
        def conclude(self, candidate):
            found.append(candidate.measurement)
            super().conclude(candidate)

    rate = {"lr": CategoricalDistribution([lr])}
    trains = Kept(
        lambda params: network.training(params["lr"], dtype, steps=14), rate, probe=Probe(12)
    )
    study.optimize(trains, n_trials=1)
    assert study.trials[0].state.name in ("COMPLETE", "PRUNED")
    return found[0].exponent, found[0].low, found[0].high, str(found[0].verdict)


def watch(network: UserNetwork, lr: float, dtype: torch.dtype) -> Found:
    model, loss_fn, optimizer, batches = network.loop(lr, dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        monitor = lyapopt.watch(None, model, optimizer, loss_fn)
        for x, y in batches:
            monitor.observe(x, y)
            optimizer.zero_grad()
            loss_fn(model(*x) if isinstance(x, tuple) else model(x), y).backward()
            optimizer.step()
    return monitor.exponent, None, None, str(monitor.verdict)


def steered(network: UserNetwork, lr: float, dtype: torch.dtype) -> Found:
    found = lyapopt.steer(
        lambda params: network.training(params["lr"], dtype),
        low=network.rates[0],
        high=network.rates[1],
        steps=1200,
    )
    return found.rate, None, None, f"{found.status} {list(found.table.verdict)}"


@pytest.mark.parametrize(
    "door",
    [probe, objective, watch, pytest.param(steered, marks=[pytest.mark.slow, pytest.mark.ci])],
)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_door_says_of_a_float32_network_what_it_says_of_its_float64_twin(name, door):
    network = NETWORKS[name]
    for lr in network.rates[:1] if door is steered else network.rates:
        value, _, _, verdict = door(network, lr, torch.float32)
        twin, low, high, verdict_of_twin = door(network, lr, torch.float64)
        draws_other_noise = name == "vae" and door is watch  # in another precision: no twins
        assert draws_other_noise or verdict == verdict_of_twin, lr
        if draws_other_noise and lr == network.rates[1]:
            continue
        near = abs(value - twin) <= max(0.05 * abs(twin), 0.002)
        assert near or (low is not None and low <= value <= high), (lr, value, twin)


@pytest.mark.parametrize("name", ["cnn", "lstm", "tied"])
def test_twins_of_trained_networks_measure_what_they_would_have_measured_before(name):
    def trials(neighbours):
        study = optuna.create_study(sampler=RandomSampler(1), pruner=lyapopt.LyapunovPruner())
        trains = lyapopt.Objective(
            lambda params: NETWORKS[name].training(params["lr"], steps=12),
            {"lr": FloatDistribution(1e-3, 10, log=True)},
            probe=Probe(8),
            neighbours=neighbours,
            record=False,
        )
        study.optimize(trains, n_trials=8)
        return study.trials

    after, before = trials("auto"), trials("all")
    exponents = [trial.user_attrs.get("exponent") for trial in after]
    assert None in exponents
    assert any(exponents)
    for trial, exponent, other in zip(after, exponents, before, strict=True):
        assert (trial.state, trial.value) == (other.state, other.value)
        saved = 16 if exponent is None else 0
        costs = [t.user_attrs["gradient_evaluations"] for t in (trial, other)]
        assert costs[0] == pytest.approx(costs[1] - saved, abs=1e-3)
        assert exponent in (None, other.user_attrs["exponent"])


def test_copies_that_are_watched_see_the_noise_that_the_user_draws():
    model, loss_fn, optimizer, batches = NETWORKS["vae"].loop(3e-3, steps=8)
    monitor = lyapopt.watch(None, model, optimizer, loss_fn, horizon=8)
    losses = []
    for x, y in batches:
        monitor.observe(x, y)
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert monitor.measurement.losses == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["mlp", "lstm", "siamese"])
def test_autocast_around_the_loop_changes_nothing_in_what_is_measured(name, dtype):
    def exponent(autocast: bool) -> float:
        model, loss_fn, optimizer, batches = NETWORKS[name].loop(NETWORKS[name].rates[0], steps=6)
        monitor = lyapopt.watch(None, model, optimizer, loss_fn, horizon=6)
        for x, y in batches:
            with torch.autocast("cpu", dtype=dtype, enabled=autocast):
                monitor.observe(x, y)
                assert torch.is_autocast_enabled("cpu") == autocast
                optimizer.zero_grad()
                loss = loss_fn(model(*x) if isinstance(x, tuple) else model(x), y)
            loss.float().backward()
            optimizer.step()
        assert monitor.exponent is not None
        return monitor.exponent

    assert exponent(True) == exponent(False)


def test_a_penalty_over_the_models_own_parameters_is_refused_by_every_door_before_a_step():
    model = torch.nn.Linear(3, 1)
    x, y = torch.randn(24, 3), torch.randn(24, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss_fn(outputs, target):
        penalty = sum(p.pow(2).sum() for p in model.parameters())
        return torch.nn.functional.mse_loss(outputs, target) + 0.1 * penalty

    training = lyapopt.Training(model, loss_fn, optimizer, (x, y), steps=20)

    def at_rate(params):
        optimizer.param_groups[0]["lr"] = params["lr"]
        return training

    before = [p.clone() for p in model.parameters()]
    monitor = lyapopt.watch(None, model, optimizer, loss_fn)
    study = optuna.create_study()
    rate = {"lr": CategoricalDistribution([0.1])}
    for door in (
        lambda: Probe().measure([training]),
        lambda: monitor.observe(x, y),
        lambda: lyapopt.steer(at_rate),
        lambda: study.optimize(lyapopt.Objective(lambda params: training, rate), n_trials=1),
    ):
        with pytest.raises(Exception, match="such as the model itself"):
            door()
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


class Strict(torch.nn.Module):
    """Breaks where it is given another precision, as compiled extensions do."""

    def __init__(self, batch_norm=True):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(10, 12), torch.nn.Linear(12, 3)
        self.norm = torch.nn.BatchNorm1d(12) if batch_norm else torch.nn.Identity()

    def forward(self, x):
        if self.fc1.weight.dtype != torch.float32:
            raise TypeError("only float32")
        return self.fc2(torch.tanh(self.norm(self.fc1(x))))


class Lenient(Strict):
    """The same network, which runs in any precision."""

    def forward(self, x):
        return self.fc2(torch.tanh(self.norm(self.fc1(x))))


class Cube(torch.autograd.Function):
    """An operation of one's own that knows no forward mode."""

    @staticmethod
    def forward(ctx, x):
        assert x.dtype == torch.float32
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


class OwnOperation(Strict):
    def forward(self, x):
        if self.training and x.isnan().any():  # a branch, so that it cannot be stacked
            raise ValueError("missing values")
        return self.fc2(Cube.apply(torch.tanh(self.fc1(x))))


class OwnOperationInAnyPrecision(Strict):
    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(x)) ** 3)


FLOAT32_ONLY = {
    "cast": UserNetwork(Strict, NETWORKS["mlp"].loss, table, Momentum, (0.1, 30.0), Lenient),
    "adam": UserNetwork(Strict, NETWORKS["mlp"].loss, table, Adam, (0.01, 3.0), Lenient),
    "own operation": UserNetwork(
        OwnOperation,
        NETWORKS["mlp"].loss,
        table,
        Momentum,
        (0.1, 30.0),
        OwnOperationInAnyPrecision,
    ),
}


@pytest.mark.parametrize("door", [probe, objective, watch, steered])
@pytest.mark.parametrize("name", FLOAT32_ONLY)
def test_what_runs_in_float32_only_is_measured_by_tangents_at_every_door(name, door):
    network = FLOAT32_ONLY[name]
    for lr in network.rates[:1] if door is steered else network.rates:
        value, _, _, verdict = door(network, lr, torch.float32)
        twin, low, high, verdict_of_twin = door(network, lr, torch.float64)
        assert verdict == verdict_of_twin, lr
        if verdict in ("hot", "diverged"):
            continue  # rounding grows as well: the two trainings part
        near = abs(value - twin) <= max(0.05 * abs(twin), 0.002)
        assert near or (low is not None and low <= value <= high), (lr, value, twin)


def test_tangents_that_are_watched_are_counted_and_recorded_like_any_measurement(tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/watched.db")

    def objective(trial):
        model, loss_fn, optimizer, batches = FLOAT32_ONLY["cast"].loop(0.1, steps=14)
        before = torch.get_rng_state()
        with lyapopt.watch(trial, model, optimizer, loss_fn, horizon=12, accumulate=2) as monitor:
            for x, y in itertools.chain(batches, FLOAT32_ONLY["cast"].loop(0.1, steps=14)[3]):
                monitor.observe(x, y)
                assert torch.equal(before, torch.get_rng_state())
                loss = loss_fn(model(x), y)
                (loss / 2).backward()
                if monitor._own_batches == 0:
                    optimizer.step()
                    optimizer.zero_grad()
        assert monitor.gradient_evaluations == 28 + derivatives.COST + 3 * 24
        assert monitor._loop is None
        return loss.item()

    study.optimize(objective, n_trials=1)
    attributes = study.trials[0].user_attrs
    assert attributes["measured"] == "tangents in float32"
    assert attributes["gradient_evaluations"] == 28 + derivatives.COST + 3 * 24
    data = lyapopt.load(f"sqlite:///{tmp_path}/watched.db")
    assert data.exponents["estimator"].tolist() == ["tangent"]
    assert data.exponents["value"].tolist() == pytest.approx([attributes["exponent"]], rel=1e-5)


class TwiceInNumPy(torch.autograd.Function):
    """Has a gradient, but none of the gradient."""

    @staticmethod
    def forward(ctx, x):
        assert x.dtype == torch.float32
        ctx.saved = x.detach().numpy()
        return torch.from_numpy(ctx.saved**2)

    @staticmethod
    def backward(ctx, gradient):
        return torch.from_numpy(2 * ctx.saved) * gradient


class InNumPy(Strict):
    def forward(self, x):
        return self.fc2(TwiceInNumPy.apply(self.fc1(x)))


def test_what_can_be_measured_in_no_way_is_refused_in_one_text_before_a_step():
    network = UserNetwork(InNumPy, NETWORKS["mlp"].loss, table, Momentum, (0.1, 30.0))
    model, loss_fn, optimizer, batches = network.loop(0.1)
    monitor = lyapopt.watch(None, model, optimizer, loss_fn)
    x, y = next(batches)
    training = network.training(0.1)
    before = torch.get_rng_state()
    refused = r"(?s)measured neither in float64 .* nor in float32 by tangents .*autograd.Function"
    with pytest.raises(PrecisionError, match=refused):
        monitor.observe(x, y)
    with pytest.raises(UserError, match=refused):
        Probe().measure([training])
    study = optuna.create_study()
    trains = lyapopt.Objective(
        lambda params: network.training(params["lr"]), {"lr": CategoricalDistribution([0.1])}
    )
    with pytest.raises(Exception, match=refused):
        study.optimize(trains, n_trials=1)
    assert torch.equal(before, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
