"""Trials in several threads (`n_jobs`), which share torch's global generators."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import optuna
import pytest
import torch
from torch import Tensor, nn

import lyapopt
from lyapopt.dynamics.own_draws import own_draws

X = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)
x = X.view(4, 16, 10)

COUNT = itertools.count(1)
DRAWN: deque[float] = deque()
DRAWING: dict[str, Callable[[], Tensor]] = {
    "dropout": lambda: nn.functional.dropout(x, 0.2),
    "native_dropout": lambda: torch.native_dropout(x, 0.2, True)[0],
    "alpha_dropout": lambda: nn.functional.alpha_dropout(x, 0.2, True),
    "rrelu": lambda: nn.functional.rrelu(x, training=True),
    "rand": lambda: torch.rand(3),
    "randn_like": lambda: torch.randn_like(x),
    "randint": lambda: torch.randint(9, (3,)),
    "randint_like": lambda: torch.randint_like(x, 1, 9),
    "randperm": lambda: torch.randperm(9),
    "normal": lambda: torch.normal(x, 1.0),
    "bernoulli": lambda: torch.bernoulli(x.sigmoid()),
    "multinomial": lambda: torch.multinomial(x.abs()[0], 5),
    "poisson": lambda: torch.poisson(x.exp()),
    "gamma": lambda: torch.distributions.Gamma(x.exp(), 1.0).rsample(),
    "gumbel": lambda: nn.functional.gumbel_softmax(x),
    "lstm": lambda: nn.LSTM(10, 3, 2, dropout=0.2)(x)[0],
    "attention": lambda: nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.1),
    "vmap": lambda: torch.func.vmap(lambda r: nn.functional.dropout(r, 0.3), randomness="same")(x),
}


def in_a_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("draw", DRAWING.values(), ids=DRAWING)
def test_a_thread_draws_from_generators_of_its_own_what_torch_would(
    draw: Callable[[], Tensor],
) -> None:
    found: list[Tensor] = []

    def work() -> None:
        before = torch.get_rng_state()
        with own_draws():
            found.append(draw())
            found.append(draw())
        assert torch.equal(before, torch.get_rng_state())
        found.append(draw())

    in_a_thread(work)
    first, second, of_torch = found
    assert not torch.equal(first, second)
    if draw is not DRAWING["native_dropout"]:  # whose kernel draws in an order of its own
        assert torch.equal(first, of_torch)


class Noisy(nn.Module):
    """Notes what it draws where nobody puts it back; another thread draws more at every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits with noise on the inputs."""
        in_a_thread(lambda: torch.rand(next(COUNT)))
        noise = torch.randn_like(x)
        DRAWN.append(float(noise.sum()))
        logits: Tensor = self.layer(x + noise + nn.functional.dropout(x))
        return logits


def test_copies_see_one_noise_while_other_threads_draw() -> None:
    found: list[lyapopt.Measurement | None] = []

    def work() -> None:
        model = Noisy()
        sgd = torch.optim.SGD(model.parameters(), lr=0.01)
        monitor = lyapopt.watch(None, model, sgd, nn.functional.cross_entropy, horizon=5)
        for _ in range(5):
            DRAWN.clear()
            monitor.observe(X, Y)
            reference, neighbour = list(DRAWN)[-2:]
            assert reference == neighbour
            sgd.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(model(X), Y))
            sgd.step()
        found.append(monitor.measurement)

    in_a_thread(work)
    [measurement] = found
    assert measurement is not None
    assert abs(measurement.exponent) < 0.1


def build(params: Mapping[str, Any]) -> lyapopt.Training:
    """With weights and masks from the global generator."""
    model = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 3))
    adam = torch.optim.Adam(model.parameters(), lr=params["lr"])
    return lyapopt.Training(
        model, nn.functional.cross_entropy, adam, data=(X, Y), batch_size=32, steps=21
    )


def test_trials_of_several_threads_are_those_of_one() -> None:
    found = []
    for n_jobs in (1, 3):
        study = optuna.create_study(pruner=optuna.pruners.NopPruner())
        objective = lyapopt.Objective(
            build, lambda trial: {"lr": 0.002 * (1 + trial.number)}, record=False
        )
        study.optimize(objective, n_trials=6, n_jobs=n_jobs)
        found.append([(t.value, t.user_attrs["exponent"]) for t in study.trials])
    assert found[0] == found[1]
