"""The user's training is bit for bit the same with and without us, by every door."""

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from doors import (
    DOORS,
    Parts,
    bits,
    by_exponent,
    by_objective,
    by_probe,
    by_spectrum,
    by_steer,
    by_watch,
    everything,
)
from networks_of_users import NETWORKS
from optuna.distributions import CategoricalDistribution
from torch import nn

import lyapopt
from lyapopt.probe import Probe


def shake(parts: Parts) -> None:
    """Somewhere in the middle of a training: gradients, optimiser state, modes, frozen parts."""
    model, loss_fn, optimizer, (*inputs, target) = parts
    outputs = model(*(tensor[:24] for tensor in inputs))
    loss_fn(outputs, target[:24]).backward()
    optimizer.step()
    list(model.parameters())[-1].requires_grad_(False)
    list(model.modules())[-1].eval()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_of_the_users_is_touched_by_any_door(name, door):
    parts = NETWORKS[name].parts(NETWORKS[name].rates[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        shake(parts)
        before = everything(*parts[:3])
        try:
            door(*parts)
        except lyapopt.UserError:
            assert door is by_spectrum  # what has no tangents is refused, and untouched too
        after = everything(*parts[:3])
    assert [part for part in before if before[part] != after[part]] == []


class Draws(nn.Module):
    """A weight times 2 or a half, as a number drawn in the forward pass says."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.draw = draw

    def forward(self, x):
        return self.w * x * (2.0 if self.draw() < 0.5 else 0.5)


class DrawsByItself(Draws):
    """With a generator of its own."""

    def __init__(self, generator: Any) -> None:
        super().__init__(lambda: 0.0)
        self.generator = generator

    def forward(self, x):
        if isinstance(self.generator, torch.Generator):
            drawn = torch.rand(1, generator=self.generator).item()
        else:
            drawn = self.generator.random()
        return self.w * x * (2.0 if drawn < 0.5 else 0.5)


OUTSIDE = np.random.default_rng(4)
DRAWING: dict[str, Callable[[], nn.Module]] = {
    "python": lambda: Draws(random.random),
    "numpy": lambda: Draws(np.random.rand),
    "torch": lambda: Draws(lambda: torch.rand(1).item()),
    "torch generator": lambda: DrawsByItself(torch.Generator().manual_seed(4)),
    "numpy generator": lambda: DrawsByItself(np.random.default_rng(4)),
    "python generator": lambda: DrawsByItself(random.Random(4)),
    "global": lambda: Draws(lambda: OUTSIDE.random()),
}
X, Y = torch.ones(6, 1), torch.zeros(6, 1)
COLD, HOT = math.log(0.95), math.log(0.2)  # ln |1 - 2 lr c^2| of the two factors, at lr .1


def squared_of(outputs, target):
    return (outputs - target).square().mean()


def drawing(name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    OUTSIDE.bit_generator.state = type(OUTSIDE.bit_generator)(4).state
    model = DRAWING[name]()
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


@pytest.mark.parametrize("name", DRAWING)
def test_a_loop_draws_the_same_numbers_whether_it_is_watched_or_not_and_copies_draw_them_too(name):
    def train(watched: bool) -> tuple[Any, list[float], float | None]:
        model, optimizer = drawing(name)
        monitor = lyapopt.watch(None, model, optimizer, squared_of, horizon=20)
        factors = []
        for _ in range(20):
            if watched:
                monitor.observe(X, Y)
            optimizer.zero_grad()
            outputs = model(X)
            factors.append(round((outputs[0] / model.w).item(), 3))
            squared_of(outputs, Y).backward()
            optimizer.step()
        states = random.getstate(), bits(np.random.get_state()), bits(torch.get_rng_state())
        return (bits(model.w), states, bits(OUTSIDE.bit_generator.state)), factors, monitor.exponent

    end, factors, exponent = train(watched=True)
    assert train(watched=False)[:2] == (end, factors)
    assert set(factors) == {2.0, 0.5}
    settled = factors[10:]  # what the exponent is read from
    true = sum(HOT if factor == 2.0 else COLD for factor in settled) / 10
    assert exponent == pytest.approx(true, rel=1e-6)


@pytest.mark.parametrize("name", DRAWING)
def test_all_copies_draw_the_same_number_at_a_step_of_a_training(name):
    model, optimizer = drawing(name)
    before = random.getstate(), bits(np.random.get_state()), bits(torch.get_rng_state())
    outside, own = bits(OUTSIDE.bit_generator.state), getattr(model, "generator", None)
    found = lyapopt.training_exponent(model, squared_of, optimizer, (X, Y), horizon=20)
    [probed] = Probe(horizon=20).measure([lyapopt.Training(model, squared_of, optimizer, (X, Y))])
    assert before == (random.getstate(), bits(np.random.get_state()), bits(torch.get_rng_state()))
    assert outside == bits(OUTSIDE.bit_generator.state)
    if isinstance(own, np.random.Generator):
        assert own.random() == np.random.default_rng(4).random()
    increments = found.increments[:, 0].tolist()
    assert {round(each, 6) for each in increments} == {round(COLD, 6), round(HOT, 6)}
    share = (probed.exponent - COLD) / (HOT - COLD)  # over the part of the horizon that is read
    assert 0 < share < 1


def carrying() -> tuple[nn.Module, Any]:
    class Carrying(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.h = nn.Linear(1, 1), torch.zeros(1)

        def forward(self, x):
            outputs = self.fc(x) + 0.5 * self.h.to(x)
            self.h = outputs.detach().mean(0)
            return outputs

    return Carrying(), squared_of


def counting() -> tuple[nn.Module, Any]:
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.passes = nn.Linear(1, 1), []

        def forward(self, x):
            self.passes.append(1)
            return self.fc(x) * len(self.passes)

    return Counting(), squared_of


def late() -> tuple[nn.Module, Any]:
    class Late(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) * (2 if self.calls > 1000 else 1)

    return Late(1, 1), squared_of


def logging() -> tuple[nn.Module, Any]:
    class Logging(nn.Linear):
        scale = 1.0

        def forward(self, x):
            outputs = super().forward(x * torch.tensor(1.0 + max(0.0, self.scale - 1e3)))
            self.scale = float(outputs.detach().norm())
            return outputs

    return Logging(1, 1), squared_of


def warming_up() -> tuple[nn.Module, Any]:
    calls = 0

    def loss_fn(outputs, target):
        nonlocal calls
        calls += 1
        return squared_of(outputs, target) * min(1.0, calls / 100)

    return nn.Linear(1, 1), loss_fn


def penalty() -> tuple[nn.Module, Any]:
    model = nn.Linear(1, 1)
    return model, lambda o, t: squared_of(o, t) + sum(p.square().sum() for p in model.parameters())


def detached_penalty() -> tuple[nn.Module, Any]:
    model = nn.Linear(1, 1)
    return model, lambda o, t: squared_of(o, t) * (1 + float(model.weight.data[0, 0]) ** 2)


def trained_teacher() -> tuple[nn.Module, Any]:
    teacher = nn.Linear(1, 1)
    return nn.Linear(1, 1), lambda o, t: squared_of(o, teacher(X))


def tensor_outside() -> tuple[nn.Module, Any]:
    temperature = nn.Parameter(torch.ones(1))
    return nn.Linear(1, 1), lambda o, t: squared_of(o * temperature, t)


def hooked() -> tuple[nn.Module, Any]:
    model = nn.Linear(1, 1)
    model.weight.register_hook(lambda g: 2 * g)
    return model, squared_of


def by_closure() -> tuple[nn.Module, Any]:
    return nn.Linear(1, 1), squared_of


REFUSED: dict[str, tuple[Callable[[], tuple[nn.Module, Any]], str]] = {
    "hidden state": (carrying, "what the pass before has left behind"),
    "list": (counting, "what the pass before has left behind"),
    "counter with an effect to come": (late, "what the pass before has left behind"),
    "number that a tensor takes": (logging, "what the pass before has left behind"),
    "counter in the loss": (warming_up, "what the pass before has left behind"),
    "penalty": (penalty, "such as the model itself"),
    "detached penalty": (detached_penalty, "such as the model itself"),
    "teacher": (trained_teacher, "such as the model itself"),
    "tensor outside": (tensor_outside, "such as the model itself"),
    "gradient hook": (hooked, "hook on a parameter"),
    "closure": (by_closure, "LBFGS evaluates the loss as often as it likes"),
}


def by_objective_that_raises(model, loss_fn, optimizer, data):
    training = lyapopt.Training(model, loss_fn, optimizer, data, steps=5)
    study = optuna.create_study()
    rate = {"lr": CategoricalDistribution([0.1])}
    study.optimize(lyapopt.Objective(lambda params: training, rate, probe=Probe(3)), n_trials=1)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_measured_right_is_refused_by_every_door_in_the_same_words(name):
    make, message = REFUSED[name]
    said = set()
    for door in (by_exponent, by_spectrum, by_probe, by_objective_that_raises, by_steer, by_watch):
        model, loss_fn = make()
        kind = torch.optim.LBFGS if make is by_closure else torch.optim.SGD
        optimizer = kind(model.parameters(), lr=0.1)
        before = everything(model, loss_fn, optimizer)
        with pytest.raises(Exception, match=message) as caught:
            door(model, loss_fn, optimizer, (X, Y))
        said.add(str(caught.value)[str(caught.value).index(message) :])
        assert everything(model, loss_fn, optimizer) == before
    assert len({text.partition(";")[0] for text in said}) == 1


class Noting(nn.Linear):
    calls, seen, share, norm, phase = 0, 0, 0.0, None, ""

    def forward(self, x):
        self.calls += 1
        self.seen += x.shape[0]
        self.share = self.calls / (1 + self.seen)
        self.phase = "trained"
        outputs = super().forward(x)
        self.norm = outputs.detach().norm().item()
        return outputs


class Switching(nn.Linear):
    """Looks at what it keeps, and computes the same whatever it finds."""

    seen, shape, calls = False, "", 0

    def forward(self, x):
        if not self.seen:
            self.seen, self.shape = True, str(x.shape)
        self.calls += 1
        self.last = torch.tensor([float(self.calls)])
        if self.calls % 100 == 0:
            print(f"after {self.calls} passes")
        return super().forward(x)


@pytest.mark.parametrize("noting", [Noting, Switching])
def test_numbers_that_a_model_keeps_and_that_change_no_loss_change_no_exponent(noting, capsys):
    found = []
    for kind in (nn.Linear, noting):
        torch.manual_seed(0)
        model = kind(1, 1)
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        training = lyapopt.Training(model, squared_of, sgd, (X, Y), steps=5)
        notes = everything(model, squared_of, sgd)
        [probed] = Probe(horizon=5).measure([training])
        exponent = lyapopt.training_exponent(model, squared_of, sgd, (X, Y), horizon=5)
        by_objective(model, squared_of, sgd, (X, Y))
        by_steer(model, squared_of, sgd, (X, Y))
        by_watch(model, squared_of, sgd, (X, Y))
        assert everything(model, squared_of, sgd) == notes
        found.append([probed.exponent, exponent.value.item()])
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert "passes" not in capsys.readouterr().out


def test_a_teacher_that_is_not_trained_is_a_constant():
    teacher = nn.Linear(1, 1)
    model = nn.Linear(1, 1, bias=False)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss_fn(outputs, target):
        with torch.no_grad():
            wanted = teacher(X)
        return squared_of(outputs, wanted)

    found = lyapopt.training_exponent(model, loss_fn, sgd, (X, Y), horizon=5)
    [probed] = Probe(horizon=5).measure([lyapopt.Training(model, loss_fn, sgd, (X, Y))])
    for exponent in (found.value.item(), probed.exponent):
        assert exponent == pytest.approx(math.log(0.8), rel=1e-6)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward"])
def test_notes_that_hooks_take_are_the_loops_own(kind):
    notes: list[int] = []
    model = nn.Linear(1, 1)
    getattr(model, f"register_{kind}_hook")(lambda *args: notes.append(1))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    for door in (by_exponent, by_probe, by_objective, by_watch):
        door(model, squared_of, sgd, (X, Y))
        assert notes == []


def test_notes_that_a_loss_takes_are_the_loops_own():
    notes: list[float] = []
    model = nn.Linear(1, 1, bias=False)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss_fn(outputs, target):
        loss = squared_of(outputs, target)
        notes.append(loss.item())
        return loss

    assert lyapopt.training_exponent(
        model, loss_fn, sgd, (X, Y), horizon=5
    ).value.item() == pytest.approx(math.log(0.8), rel=1e-6)
    Probe(horizon=3).measure([lyapopt.Training(model, loss_fn, sgd, (X, Y))])
    assert notes == []
    monitor = lyapopt.watch(None, model, sgd, loss_fn, horizon=3)
    for t in range(3):
        monitor.observe(X, Y)
        assert len(notes) == t
        sgd.zero_grad()
        loss_fn(model(X), Y).backward()
        sgd.step()


class TwoCurvatures(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def forward(self, x):
        return torch.cat([self.a * x, 2 * self.b * x], 1)


def watch_frozen(freeze_at: int | None, steps: int = 8) -> list[float]:
    model = TwoCurvatures()
    if freeze_at is None:
        model.b.requires_grad_(False)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.0)
    monitor = lyapopt.watch(None, model, sgd, lambda o, t: o.square().sum(1).mean(), horizon=steps)
    for t in range(steps):
        if t == freeze_at:
            model.b.requires_grad_(False)
        monitor.observe(X, Y)
        sgd.zero_grad()
        model(X).square().sum(1).mean().backward()
        sgd.step()
    return np.diff(monitor.measurement.log_separations[:, 0]).tolist()


def test_weights_that_are_frozen_after_watching_began_are_measured_frozen():
    assert watch_frozen(freeze_at=0) == watch_frozen(freeze_at=None)
    assert watch_frozen(freeze_at=0) == pytest.approx([math.log(0.8)] * 8, rel=1e-6)
    assert watch_frozen(freeze_at=3)[3:] == pytest.approx([math.log(0.8)] * 5, rel=1e-6)


def test_what_is_loaded_between_watch_and_the_first_batch_is_what_is_watched():
    model = TwoCurvatures()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = lyapopt.watch(None, model, sgd, lambda o, t: o.square().sum(1).mean(), horizon=1)
    model.load_state_dict({"a": torch.tensor([3.0]), "b": torch.tensor([0.0])})
    monitor.observe(X, Y)
    assert monitor.measurement.losses.tolist() == [9.0]
