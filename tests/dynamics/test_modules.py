"""Compiled modules are measured by what they were made from; others are refused, in one way."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import lyapopt
from lyapopt.dynamics import Training, TrainingMap
from lyapopt.errors import TrainingError

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
Y = X[:, :1].sin()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def inside(part: nn.Module) -> nn.Module:
    return nn.Sequential(part, nn.Tanh(), nn.Linear(4, 1))


def sparse_weights() -> nn.Module:
    model = network()
    model[0].weight = nn.Parameter(model[0].weight.detach().to_sparse())
    return model


def sparse_buffer() -> nn.Module:
    model = network()
    model.register_buffer("adjacency", torch.eye(3).to_sparse_csr())
    return model


def complex_buffer() -> nn.Module:
    model = network()
    model.register_buffer("filter", torch.zeros(3, dtype=torch.complex64))
    return model


def after_a_pass(model: nn.Module) -> nn.Module:
    model(X)
    return model


def pruned() -> nn.Module:
    model = network()
    prune.l1_unstructured(model[0], "weight", 0.5)
    return model


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "scripted": (lambda: torch.jit.script(network()), "nn.Module that it was made from"),
    "traced": (lambda: torch.jit.trace(network(), X), "nn.Module that it was made from"),
    "a scripted part": (
        lambda: inside(torch.jit.script(nn.Linear(3, 4))),
        r"model\.0 is a scripted",
    ),
    "complex": (
        lambda: nn.Sequential(nn.Linear(3, 1, dtype=torch.complex64)),
        r"model\.0\.weight is complex",
    ),
    "complex buffer": (complex_buffer, r"model\.filter is complex"),
    "sparse weights": (sparse_weights, r"model\.0\.weight is sparse .* to_dense"),
    "sparse buffer": (sparse_buffer, r"model\.adjacency is sparse"),
    "sparse gradients": (
        lambda: inside(nn.EmbeddingBag(5, 4, sparse=True)),
        r"EmbeddingBag\(..., sparse=False\)",
    ),
    "old weight norm": (
        lambda: inside(weight_norm(nn.Linear(3, 4))),
        "use torch.nn.utils.parametrizations.weight_norm",
    ),
    "old weight norm after a pass": (
        lambda: after_a_pass(inside(weight_norm(nn.Linear(3, 4)))),
        "use torch.nn.utils.parametrizations.weight_norm",
    ),
    "old spectral norm": (
        lambda: inside(spectral_norm(nn.Linear(3, 4))),
        "use torch.nn.utils.parametrizations.spectral_norm",
    ),
    "pruned": (pruned, "prune.remove"),
    "lazy": (lambda: inside(nn.LazyLinear(4)), r"model\.0\.weight is not initialised"),
    "meta": (lambda: inside(nn.Linear(3, 4, device="meta")), "meta device"),
    "compiled and complex": (
        lambda: torch.compile(nn.Linear(3, 1, dtype=torch.complex64)),
        r"model\.weight is complex",
    ),
}


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if not p.is_meta], lr=0.1)


def training(model: nn.Module) -> Training:
    return Training(model, nn.MSELoss(), sgd(model), (X, Y), steps=3)


def in_objective(model: nn.Module) -> Any:
    objective = lyapopt.Objective(
        lambda params: training(model), {"lr": optuna.distributions.FloatDistribution(0.1, 0.2)}
    )
    study = optuna.create_study()
    try:
        study.optimize(objective, n_trials=1)
    except Exception as error:
        while error.__cause__ is not None and not isinstance(error, TrainingError):
            error = error.__cause__
        raise error from None


ENTRIES: dict[str, Callable[[nn.Module], Any]] = {
    "training_exponent": lambda m: lyapopt.training_exponent(
        m, nn.MSELoss(), sgd(m), (X, Y), horizon=3, neighbours=2
    ),
    "training_exponent of a list": lambda m: lyapopt.training_exponent(
        [m], nn.MSELoss(), [sgd(m)], (X, Y), horizon=3, neighbours=2
    ),
    "training_spectrum": lambda m: lyapopt.training_spectrum(
        m, nn.MSELoss(), sgd(m), (X, Y), horizon=3, k=1
    ),
    "Probe": lambda m: lyapopt.Probe(horizon=3).measure([training(m)]),
    "TrainingMap": lambda m: TrainingMap([training(m)]),
    "watch": lambda m: lyapopt.watch(None, m, sgd(m), nn.functional.mse_loss),
    "steer": lambda m: lyapopt.steer(lambda params: training(m), {"lr": 0.1}),
    "find_lr": lambda m: lyapopt.find_lr(m, sgd(m), nn.MSELoss(), (X, Y)),
    "Objective": in_objective,
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning", "ignore:Lazy modules:UserWarning")
def test_what_cannot_be_measured_is_refused_in_one_way_everywhere(name: str, entry: str) -> None:
    make, message = REFUSED[name]
    model = make()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*imaginary part.*")
        with pytest.raises(TrainingError, match=message):
            ENTRIES[entry](model)


def compiled_part(model: nn.Sequential) -> nn.Module:
    return nn.Sequential(torch.compile(model[0]), model[1], model[2])


def compiled_in_place(model: nn.Sequential) -> nn.Module:
    model.compile()
    return model


COMPILED: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "compiled": lambda model: torch.compile(model),
    "a compiled part": compiled_part,
    "a compiled part in a compiled model": lambda model: torch.compile(compiled_part(model)),
    "compiled in place": compiled_in_place,
}


@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_model_is_measured_as_the_model_that_it_was_made_from(name: str) -> None:
    def measure(model: nn.Module) -> list[float]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        given = model, nn.MSELoss(), optimizer, (X, Y)
        exponent = lyapopt.training_exponent(*given, horizon=4, neighbours=2)
        spectrum = lyapopt.training_spectrum(*given, horizon=3, k=2)
        [measured] = lyapopt.Probe(horizon=4, estimator="tangent").measure([Training(*given)])
        monitor = lyapopt.watch(None, model, optimizer, nn.functional.mse_loss, horizon=4)
        for _ in range(4):
            monitor.observe(X, Y)
        values = [exponent.value, spectrum.values, measured.exponent, monitor.exponent]
        return [float(v) for value in values for v in torch.as_tensor(value).reshape(-1)]

    assert measure(COMPILED[name](network())) == pytest.approx(measure(network()), abs=1e-12)


def test_a_compiled_model_shares_the_stack_of_one_that_is_not() -> None:
    compiled = torch.compile(network())
    compiled._compile_kwargs = {}  # as it is once Lightning is imported
    step = TrainingMap([training(compiled), training(network())])
    z = step.initial_state()
    assert torch.equal(z[0], z[1])


def test_a_compiled_loss_is_the_loss_that_it_was_made_from() -> None:
    loss = nn.MSELoss()
    model = network()
    for given, plain in ((torch.compile(loss), loss), (torch.compile(by_hand), by_hand)):
        assert Training(model, given, sgd(model), (X, Y)).loss_fn is plain


def by_hand(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (outputs - target).square().mean()


def test_the_parametrisation_that_is_advised_is_measured() -> None:
    model = inside(parametrizations.weight_norm(nn.Linear(3, 4)))
    assert ENTRIES["training_exponent"](model).value.isfinite().all()


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_sparse_data_are_refused(layout: torch.layout) -> None:
    data = (X.to_sparse(layout=layout), Y)
    model = network()
    with pytest.raises(TrainingError, match=r"sparse .*to_dense"):
        TrainingMap([Training(model, nn.MSELoss(), sgd(model), data)])
    with pytest.raises(TrainingError, match=r"sparse .*to_dense"):
        lyapopt.training_exponent(model, nn.MSELoss(), sgd(model), data)


class Power(nn.Module):
    """Reads the power of a complex signal."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear((x * x.conj()).real)


def test_complex_inputs_keep_their_imaginary_part() -> None:
    x = torch.complex(X, X.flip(0))
    found = lyapopt.training_exponent(
        model := Power(), nn.MSELoss(), sgd(model), (x, Y), horizon=3, neighbours=2
    )
    power = (x.to(torch.complex128).abs() ** 2, Y.double())
    plain = Power().linear.double()
    expected = lyapopt.training_exponent(
        plain, nn.MSELoss(), sgd(plain), power, horizon=3, neighbours=2
    )
    torch.testing.assert_close(found.value, expected.value, rtol=0, atol=1e-9)


def refused_in_one_of_two(rank: int, meeting: str) -> None:
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(nn.Linear(3, 1))
    with pytest.raises(TrainingError, match="trains in several processes"):
        lyapopt.watch(None, model, sgd(model), nn.functional.mse_loss)
    distributed.destroy_process_group()


def test_a_model_that_trains_in_several_processes_is_refused_in_each(tmp_path: Path) -> None:
    multiprocessing.start_processes(
        refused_in_one_of_two, (f"file://{tmp_path}/meeting",), nprocs=2, start_method="fork"
    )


def test_a_model_that_is_parallel_in_one_process_is_measured(tmp_path: Path) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(nn.Linear(3, 1))
        monitor = lyapopt.watch(None, model, sgd(model), nn.functional.mse_loss, horizon=2)
        for _ in range(2):
            monitor.observe(X, Y)
        assert monitor.verdict is not None
    finally:
        distributed.destroy_process_group()
