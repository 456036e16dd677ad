"""What a user can get wrong is explained: which part, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim import SGD, Adam, Optimizer
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset
from training_oracle import assert_every_step_agrees, network, regression

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.errors import NotStackableError, TrainingError, UserError

X, Y = regression()


def training(model: nn.Module | None = None, **changes: Any) -> Training:
    model = network() if model is None else model
    parts: dict[str, Any] = {
        "model": model,
        "loss_fn": nn.MSELoss(),
        "optimizer": None,
        "data": (X, Y),
        **changes,
    }
    if parts["optimizer"] is None:
        parts["optimizer"] = SGD(model.parameters(), lr=0.1)
    return Training(**parts)


class Forward(nn.Module):
    """A linear layer, and then anything."""

    def __init__(self, then: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2, dtype=torch.float64)
        self.register_buffer("kept", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.calls = 0
        self.then = then

    def forward(self, x: Tensor) -> Any:
        return self.then(self, self.linear(x))


def replace_buffer(module: nn.Module, x: Tensor) -> Tensor:
    module.kept = 0.9 * module.kept + 0.1 * x.detach().mean(0)
    return x - module.kept


def double_counter(module: nn.Module, x: Tensor) -> Tensor:
    module.seen.mul_(2).add_(3)
    return x * module.seen


def branch(module: nn.Module, x: Tensor) -> Tensor:
    return x if x.sum() > 0 else 2 * x


def raises(module: nn.Module, x: Tensor) -> Tensor:
    raise KeyError("no such layer")


def count_calls(module: nn.Module, x: Tensor) -> Tensor:
    module.calls += 1
    return x / module.calls


def with_lazy_parts() -> Training:
    model = nn.Sequential(nn.LazyLinear(2))
    return training(model, optimizer=SGD([nn.Parameter(torch.zeros(1))], lr=0.1))


def with_complex_weights() -> Training:
    return training(nn.Linear(3, 2, dtype=torch.complex128))


def with_sparse_gradients() -> Training:
    model = nn.Sequential(nn.Embedding(5, 2, sparse=True), nn.Flatten(), nn.Linear(4, 2))
    words = torch.zeros(6, 2, dtype=torch.int64)
    return training(model, data=(words, torch.zeros(6, 2)))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from ()


class Broken(Dataset[Any]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        raise OSError("the disk is gone")


def nan_in_data() -> tuple[Tensor, Tensor]:
    x = X.clone()
    x[7, 1] = float("nan")
    return x, Y


def loader(**settings: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y), **settings)


WRONG: dict[str, tuple[Callable[[], Training], str]] = {
    "model is a class": (
        lambda: Training(nn.Linear, nn.MSELoss(), training().optimizer, (X, Y)),  # type: ignore[arg-type]
        "model must be an nn.Module, not the class Linear",
    ),
    "loss is a number": (
        lambda: training(loss_fn=0.5),
        "loss_fn must be a function of outputs and target, not 0.5",
    ),
    "optimizer is a class": (lambda: training(optimizer=SGD), "torch.optim object such as"),
    "optimizer of another model": (
        lambda: training(optimizer=SGD(network(3).parameters(), lr=0.1)),
        "no trainable parameter of this model",
    ),
    "scheduler of another optimizer": (
        lambda: training(
            scheduler=torch.optim.lr_scheduler.StepLR(SGD(network().parameters(), lr=0.1), 3)
        ),
        "another optimizer",
    ),
    "scheduler is a number": (lambda: training(scheduler=0.1), "function of the step"),
    "metric is a string": (
        lambda: training(metric="accuracy"),
        "metric must be a function, not 'accuracy'",
    ),
    "batch size zero": (lambda: training(batch_size=0), "batch_size must be a positive"),
    "batch size is a float": (lambda: training(batch_size=8.0), "batch_size must be a positive"),
    "steps negative": (lambda: training(steps=-1), "steps must be a positive integer"),
    "seed is a float": (lambda: training(seed=0.5), "seed must be an integer"),
    "clip zero": (lambda: training(clip_grad_norm=0), "clip_grad_norm must be a positive"),
    "clip nan": (lambda: training(clip_grad_norm=float("nan")), "clip_grad_norm"),
    "lazy": (with_lazy_parts, "run one batch through the model"),
    "complex": (with_complex_weights, "real and imaginary part"),
    "sparse": (with_sparse_gradients, "sparse=False"),
    "integer weights": (
        lambda: training(nn.ParameterList([nn.Parameter(torch.ones(2, dtype=torch.int64), False)])),
        "no trainable parameter|raised",
    ),
    "all frozen": (
        lambda: training(network().requires_grad_(False), optimizer=SGD(network().parameters(), 1)),
        "does not depend on any trainable",
    ),
    "two dtypes": (
        lambda: training(
            nn.Sequential(nn.Linear(3, 2), Cast(), nn.Linear(2, 2).double()), data=(X.float(), Y)
        ),
        "one dtype",
    ),
    "target of the wrong dtype": (
        lambda: training(
            loss_fn=nn.CrossEntropyLoss(), data=(X, torch.zeros(12, dtype=torch.int8))
        ),
        r"the first batch raised .*\(12,\) int8",
    ),
    "input of the wrong dtype": (lambda: training(data=(X.float(), Y)), "float32"),
    "input of the wrong width": (lambda: training(data=(X[:, :2], Y)), r"\(12, 2\) float64"),
    "loss is a vector": (
        lambda: training(loss_fn=nn.MSELoss(reduction="none")),
        r"one real number, not a tensor \(12, 2\); take the mean",
    ),
    "loss is a float": (lambda: training(loss_fn=lambda o, y: 1.0), "one real number, not float"),
    "loss is detached": (
        lambda: training(loss_fn=lambda o, y: (o.detach() - y).square().mean()),
        "does not depend on any trainable parameter",
    ),
    "model raises": (lambda: training(Forward(raises)), "KeyError: 'no such layer'"),
    "model returns nothing": (
        lambda: training(Forward(lambda m, x: None)),
        "the first batch raised",
    ),
    "nan in data": (lambda: training(data=nan_in_data()), "hold NaN, first in example 7"),
    "nan in minibatches": (
        lambda: training(data=nan_in_data(), batch_size=3),
        "hold NaN, first in example 7",
    ),
    "no examples": (lambda: training(data=(X[:0], Y[:0])), "data is empty"),
    "unequal lengths": (lambda: training(data=(X, Y[:5])), r"different lengths \[5, 12\]"),
    "only inputs": (lambda: training(data=(X,)), "at least two tensors"),
    "data is a string": (lambda: training(data="mnist"), "not str"),
    "arrays": (lambda: training(data=(X.numpy(), Y.numpy())), "not a tuple of ndarray, ndarray"),
    "stream": (lambda: training(data=Stream()), "IterableDataset"),
    "stream in a loader": (lambda: training(data=DataLoader(Stream())), "IterableDataset"),
    "broken data set": (lambda: training(data=Broken()), "OSError: the disk is gone"),
    "validation is empty": (lambda: training(validation=(X[:0], Y[:0])), "validation is empty"),
    "data with gradients": (
        lambda: training(data=(X.clone().requires_grad_(), Y)),
        r"data requires gradients; give data\.detach",
    ),
    "loader with a rest": (lambda: training(data=loader(batch_size=5)), "drop_last=True"),
    "loader and batch size": (
        lambda: training(data=loader(batch_size=4), batch_size=3),
        "give one of them",
    ),
    "loader with replacement": (
        lambda: training(
            data=loader(batch_size=4, sampler=RandomSampler(X, replacement=True))  # type: ignore[arg-type]
        ),
        "with replacement",
    ),
    "loader of too large batches": (
        lambda: training(data=loader(batch_size=50, drop_last=True)),
        "no batch at all",
    ),
    "loader with its own batches": (
        lambda: training(data=DataLoader(TensorDataset(X, Y), batch_sampler=[[0, 1], [2, 3]])),
        "batch_sampler of its own",
    ),
    "batch norm of one example": (
        lambda: training(
            nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double(), data=(X, Y), batch_size=1
        ),
        "Expected more than 1 value per channel",
    ),
    "meta": (lambda: training(nn.Linear(3, 2, device="meta")), "meta device"),
}


class Cast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.double()


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_told_kindly(name: str) -> None:
    make, message = WRONG[name]
    with pytest.raises(TrainingError, match=message):
        TrainingMap([make()])


class Stopping(SGD):
    """A subclass of a known optimiser, which may do anything."""


def patched() -> Training:
    own = training()
    step = own.optimizer.step
    own.optimizer.step = lambda *args: step(*args)  # type: ignore[method-assign]
    return own


def hooked() -> Training:
    own = training()
    own.optimizer.register_step_post_hook(lambda *args: None)
    return own


def hook_on_gradient() -> Training:
    own = training()
    own.model[0].weight.register_hook(lambda g: g.clamp(-1, 1))
    return own


def regularised() -> Training:
    model = network()
    return training(
        model,
        loss_fn=lambda o, y: F.mse_loss(o, y) + sum(p.square().sum() for p in model.parameters()),
    )


def unequal_updates() -> Training:
    own = training(optimizer=None)
    own.optimizer = Adam(own.model.parameters())
    own.model[0](X).sum().backward()
    own.optimizer.step()
    return own


def lbfgs() -> Training:
    model = network()
    return training(model, optimizer=torch.optim.LBFGS(model.parameters()))


def adagrad() -> Training:
    model = network()
    return training(model, optimizer=torch.optim.Adagrad(model.parameters()))


def subclass() -> Training:
    model = network()
    return training(model, optimizer=Stopping(model.parameters(), lr=0.1))


UNSTACKABLE: dict[str, tuple[Callable[[], Training], str]] = {
    "lbfgs": (lbfgs, "LBFGS has no update rule"),
    "adagrad": (adagrad, "Adagrad has no update rule here .*RMSprop"),
    "subclass": (subclass, "Stopping has no update rule"),
    "patched step": (patched, "a step of its own"),
    "step hook": (hooked, "hook on a parameter or on the optimizer"),
    "gradient hook": (hook_on_gradient, "hook on a parameter or on the optimizer"),
    "unequal updates": (unequal_updates, "more often than others"),
    "replaced buffer": (lambda: training(Forward(replace_buffer)), "write into it with copy_"),
    "integer state": (lambda: training(Forward(double_counter)), "nor a counter of steps"),
    "branch": (lambda: training(Forward(branch)), "vmap"),
    "item": (lambda: training(Forward(lambda m, x: x * x.sum().item())), "vmap"),
    "randn_like": (lambda: training(Forward(lambda m, x: x + torch.randn_like(x))), "random"),
    "native dropout": (
        lambda: training(Forward(lambda m, x: torch.dropout(x, 0.5, True))),
        "random",
    ),
    "alpha dropout": (
        lambda: training(Forward(lambda m, x: F.alpha_dropout(x, 0.5, True))),
        "random",
    ),
    "numpy noise": (
        lambda: training(Forward(lambda m, x: x * float(torch.rand(()).numpy()))),
        "random",
    ),
    "counting": (lambda: training(Forward(count_calls)), "what the pass before has left behind"),
    "loss with the model inside": (regularised, "reads something"),
    "spectral norm": (
        lambda: training(parametrizations.spectral_norm(nn.Linear(3, 2, dtype=torch.float64))),
        "vmap",
    ),
    "data parallel": (lambda: training(nn.DataParallel(network())), "DataParallel cannot run"),
    "uncopyable": (lambda: training(streaming()), "cannot be copied"),
}


def streaming() -> nn.Module:
    model = Forward(lambda m, x: x * next(m.stream))
    model.stream = (one for one in (1.0, 2.0))
    return model


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", UNSTACKABLE)
def test_what_cannot_be_stacked_says_why(name: str) -> None:
    make, message = UNSTACKABLE[name]
    own = make()
    with pytest.raises((NotStackableError, TrainingError), match=message):
        TrainingMap([own])


def test_different_structures_do_not_make_one_map() -> None:
    with pytest.raises(NotStackableError, match="group_by_structure"):
        TrainingMap([training(), training(batch_size=4)])


def test_no_trainings_make_no_map() -> None:
    with pytest.raises(UserError, match="no trainings"):
        TrainingMap([])


def test_outputs_of_a_tuple_are_refused_only_where_they_are_asked_for() -> None:
    own = training(Forward(lambda m, x: (x, x)), loss_fn=lambda o, y: F.mse_loss(o[0], y))
    step = TrainingMap([own])
    with pytest.raises(TrainingError, match="returns a tuple"):
        step.outputs(step.initial_state())


def test_functional_dropout_has_the_masks_of_the_map() -> None:
    own = training(Forward(lambda m, x: F.dropout(x, 0.5)), seed=3)
    step = TrainingMap([own])
    z = step.initial_state()
    losses = [float(step.step_with_losses(z, t)[1]) for t in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_forward_hooks_are_part_of_the_model() -> None:
    model = network()
    model[0].register_forward_hook(lambda module, args, output: 2 * output)
    assert_every_step_agrees([training(model)], 5)


def test_functions_of_the_data_loader_are_honoured() -> None:
    for shuffle in (False, True):
        assert_every_step_agrees([training(data=loader(batch_size=4, shuffle=shuffle))], 7)


def test_a_data_set_and_its_tensors_are_the_same_data() -> None:
    step = TrainingMap([training(data=TensorDataset(X, Y)), training(data=(X, Y))])
    assert step._batches._shares_data


def test_infinite_losses_are_dynamics_and_no_mistake() -> None:
    model = network()
    with torch.no_grad():
        model[2].weight.fill_(1e300)
    step = TrainingMap([training(model), training()])
    _, losses = step.step_with_losses(step.initial_state(), 0)
    assert not losses[0].isfinite()
    assert losses[1].isfinite()


def test_optimizers_are_read_and_never_stepped() -> None:
    own = training()
    before: list[Optimizer] = [own.optimizer]
    TrainingMap([own])
    assert before[0] is own.optimizer
    assert not own.optimizer.state
