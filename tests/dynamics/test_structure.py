"""Models share a stack only if their forward passes differ in tensors alone."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from test_models_match_torch import MODELS, make
from torch import Tensor, nn
from torch.optim import SGD, Adam
from training_oracle import network, regression

from lyapopt.dynamics import Training, TrainingMap, group_by_structure
from lyapopt.dynamics.structure import loss_structure, module_structure
from lyapopt.dynamics.system import Known, System
from lyapopt.errors import NotStackableError, TrainingError


class Holder(nn.Module):
    """A layer, and any attribute that the forward pass may read."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class SubHolder(Holder):
    """The same in all but its class."""


@dataclasses.dataclass
class Config:
    width: int = 3
    scale: float = 1.0
    names: tuple[str, ...] = ("a",)


class Plain:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.value


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Choice(enum.Enum):
    ONE = 1
    TWO = 2


def scaled(factor: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: factor * x


def with_default(x: Tensor, factor: float = 2.0) -> Tensor:
    return factor * x


def in_other_module(source: str) -> Any:
    """The same function text with other globals."""
    module = types.ModuleType("other")
    exec(f"import torch\nACTIVATION = torch.{source}\ndef f(x): return ACTIVATION(x)", vars(module))
    return module.f


def patched(activation: Callable[[Tensor], Tensor]) -> nn.Module:
    model = Holder(1)

    def forward(self: Any, x: Tensor) -> Tensor:
        return activation(self.linear(x))

    model.forward = types.MethodType(forward, model)  # type: ignore[method-assign]
    return model


def repeated(pattern: str) -> nn.Module:
    blocks = {"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)}
    return nn.Sequential(*(blocks[letter] for letter in pattern))


def tied(pattern: str) -> nn.Module:
    layers = [nn.Linear(3, 3, bias=False) for _ in pattern]
    first: dict[str, nn.Parameter] = {}
    for letter, layer in zip(pattern, layers, strict=True):
        layer.weight = first.setdefault(letter, layer.weight)
    return nn.Sequential(*layers)


def hooked(factor: float) -> nn.Module:
    model = Holder(1)
    model.register_forward_hook(lambda module, args, output: factor * output)
    return model


def cyclic(value: int) -> list[Any]:
    own: list[Any] = [value]
    own.append(own)
    return own


def in_mode(training: bool) -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    model[1].train(training)
    return model


PAIRS: dict[str, Callable[[int], nn.Module]] = {
    "number": lambda k: Holder(k),
    "float": lambda k: Holder(0.1 * (1 + k)),
    "type of number": lambda k: Holder([1, 1.0][k]),
    "sign of zero": lambda k: Holder([0.0, -0.0][k]),
    "switch": lambda k: Holder([True, 1][k]),
    "string": lambda k: Holder("ab"[k]),
    "list": lambda k: Holder([1, k]),
    "list or tuple": lambda k: Holder([[1], (1,)][k]),
    "nested": lambda k: Holder({"a": [{"b": k}]}),
    "order of a dictionary": lambda k: Holder([{"a": 1, "b": 2}, {"b": 2, "a": 1}][k]),
    "set": lambda k: Holder({1, 2 + k}),
    "array": lambda k: Holder(np.array([1.0, k])),
    "dtype of an array": lambda k: Holder(np.ones(2, [np.float32, np.float64][k])),
    "scalar of numpy": lambda k: Holder(np.float64(k)),
    "tensor": lambda k: Holder(torch.tensor([1.0, k])),
    "parameter in a list": lambda k: Holder([nn.Parameter(torch.full((2,), float(k)))]),
    "closure": lambda k: Holder(scaled(k)),
    "closure on a tensor": lambda k: Holder(scaled(torch.tensor(float(k)))),
    "closure on an object": lambda k: Holder(scaled(Plain(k))),
    "two lambdas": lambda k: Holder([lambda x: x, lambda x: 2 * x][k]),
    "default of a function": lambda k: Holder(
        [with_default, types.FunctionType(with_default.__code__, globals(), "f", (3.0,))][k]
    ),
    "globals of a function": lambda k: Holder(in_other_module(["sin", "cos"][k])),
    "partial": lambda k: Holder(functools.partial(with_default, factor=k)),
    "method of an object": lambda k: Holder(Plain(k).__call__),
    "object": lambda k: Holder(Plain(k)),
    "object with slots": lambda k: Holder(Slotted(k)),
    "configuration": lambda k: Holder(Config(scale=k)),
    "enumeration": lambda k: Holder(list(Choice)[k]),
    "generator": lambda k: Holder(torch.Generator().manual_seed(k)),
    "cycle": lambda k: Holder(cyclic(k)),
    "eps": lambda k: nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2, eps=1e-5 * (1 + k))),
    "momentum": lambda k: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, momentum=0.1 * (1 + k))),
    "mode": lambda k: in_mode(bool(k)),
    "activation": lambda k: nn.Sequential(nn.Linear(3, 2), [nn.ReLU(), nn.Tanh()][k]),
    "dropout": lambda k: nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.1 * (1 + k))),
    "subclass": lambda k: [Holder, SubHolder][k](1),
    "patched forward": lambda k: patched([torch.sin, torch.cos][k]),
    "hook": lambda k: hooked(1.0 + k),
    "order of repeated blocks": lambda k: repeated(["aba", "abb"][k]),
    "order of tied weights": lambda k: tied(["aba", "abb"][k]),
    "bias": lambda k: nn.Linear(3, 2, bias=bool(k)),
    "stride": lambda k: nn.Conv1d(1, 1, 2, stride=1 + k),
    "unregistered module": lambda k: Holder([nn.Linear(2, 2)]),
    "frozen": lambda k: nn.GRU(3, 2, num_layers=1 + k),
}


@pytest.mark.parametrize("name", PAIRS)
def test_models_that_differ_in_more_than_tensors_have_different_structures(name: str) -> None:
    first, second = PAIRS[name](0), PAIRS[name](1)
    assert module_structure(first) != module_structure(second)
    assert module_structure(first) == module_structure(first)
    hash(module_structure(first))


UNIQUE = {"object with slots", "generator", "unregistered module"}


@pytest.mark.parametrize("name", sorted(set(PAIRS) - UNIQUE))
def test_models_built_alike_have_equal_structures(name: str) -> None:
    first, second = PAIRS[name](0), PAIRS[name](0)
    if name == "globals of a function":
        second = Holder(first.value)
    assert module_structure(first) == module_structure(second)
    assert hash(module_structure(first)) == hash(module_structure(second))


@pytest.mark.parametrize("name", MODELS)
def test_ordinary_models_of_one_builder_stack(name: str) -> None:
    assert group_by_structure([make(name, seed) for seed in range(3)]) == [[0, 1, 2]]


def test_a_key_outlives_what_it_was_made_from() -> None:
    # Addresses of objects that are gone are given to new ones.
    keys = [module_structure(Holder(Slotted(value))) for value in range(50)]
    assert len(set(keys)) == 50


def test_losses_are_compared_by_what_they_compute() -> None:
    weights = torch.tensor([1.0, 2.0])
    assert loss_structure(nn.CrossEntropyLoss(weights)) == loss_structure(
        nn.CrossEntropyLoss(weights.clone())
    )
    assert loss_structure(nn.CrossEntropyLoss(weights)) != loss_structure(
        nn.CrossEntropyLoss(2 * weights)
    )
    assert loss_structure(nn.MSELoss()) == loss_structure(nn.MSELoss())
    assert loss_structure(nn.MSELoss()) != loss_structure(nn.MSELoss(reduction="sum"))
    assert loss_structure(scaled(2)) == loss_structure(scaled(2))
    assert loss_structure(scaled(2)) != loss_structure(scaled(3))
    assert loss_structure(Plain(2).__call__) == loss_structure(Plain(2).__call__)


def training(model: nn.Module | None = None, **changes: Any) -> Training:
    model = network() if model is None else model
    parts: dict[str, Any] = {
        "loss_fn": nn.MSELoss(),
        "optimizer": SGD(model.parameters(), lr=0.1),
        "data": regression(),
        **changes,
    }
    return Training(model, **parts)


def test_trainings_are_grouped_by_all_that_a_step_reads() -> None:
    adam, short = network(), network()
    trainings = [
        training(),
        training(batch_size=4),
        training(adam, optimizer=Adam(adam.parameters())),
        training(loss_fn=nn.L1Loss()),
        training(data=regression(examples=8)),
        training(short, optimizer=SGD(short[0].parameters(), lr=0.1)),
        training(seed=5, clip_grad_norm=1.0, steps=9),
        training(metric=lambda o, y: 0.0),
    ]
    assert group_by_structure(trainings) == [[0, 6], [1], [2], [3], [4], [5], [7]]


class Sly(nn.Linear):
    """Reads a number from where no structure looks."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * getattr(self.weight, "factor", 1.0)


def test_what_two_models_share_by_structure_is_checked_by_running() -> None:
    models = [Sly(3, 2, dtype=torch.float64) for _ in range(3)]
    models[2].weight.factor = 2.0  # type: ignore[attr-defined]
    trainings = [training(model) for model in models]
    assert group_by_structure(trainings) == [[0, 1, 2]]
    TrainingMap(trainings[:2])
    with pytest.raises(NotStackableError, match="system 2 gives loss"):
        TrainingMap(trainings)


def test_of_trainings_that_differ_in_numbers_only_one_is_run_when_they_are_read() -> None:
    data = regression()
    known: Known = {}
    models = [network() for _ in range(3)]
    first, *others = (
        training(models[0], data=data),
        training(models[1], data=data, seed=5, optimizer=SGD(models[1].parameters(), lr=3.0)),
        training(models[2], data=data, optimizer=Adam(models[2].parameters()), steps=7),
    )
    assert System.read(first, known).is_traced
    for other in others:
        system, alone = System.read(other, known), System.read(other)
        assert (system.is_traced, alone.is_traced) == (False, True)
        assert system.structure == alone.structure
        assert torch.equal(system.flat_weights(), alone.flat_weights())
        assert torch.equal(system.own_trace().gradient, alone.trace.gradient)


def test_what_differs_in_more_than_numbers_is_run_by_itself() -> None:
    data, frozen, activated, deep = regression(), network(), network(), network()
    frozen[0].weight.requires_grad_(False)
    activated[1] = nn.ReLU()
    deep.append(nn.Identity())
    trainings = [
        training(data=data),
        training(frozen, data=data),
        training(activated, data=data),
        training(deep, data=data),
        training(data=data, loss_fn=nn.L1Loss()),
        training(data=data, batch_size=4),
        training(data=regression()),
        training(short := network(), data=data, optimizer=SGD(short[0].parameters(), lr=0.1)),
    ]
    own = [Sly(3, 2, dtype=torch.float64) for _ in range(2)]
    known: Known = {}
    for each in [*trainings, *(training(model, data=data) for model in own)]:
        assert System.read(each, known).is_traced
    data[0][0, 0] = torch.nan
    with pytest.raises(TrainingError, match="the data hold NaN, first in example 0"):
        System.read(training(data=data), known)
