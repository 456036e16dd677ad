"""What is benchmarked: a task, an optimiser, a schedule, and the grid of configurations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from lyapopt.display import one_line
from lyapopt.dynamics import Training
from lyapopt.dynamics.precision import float64_twin, precision_of
from lyapopt.errors import UserError
from lyapopt.search.probing.building import Build, build_training
from lyapopt.tasks.builder import TaskBuilder

OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9},
    "adam": {"optimizer": "adam"},
}
SCHEDULES = ("constant", "cosine")

ACTIVATIONS = ("linear", "sigmoid", "relu", "tanh", "gelu")
SEEDS = (0, 1, 2)
RATES = 21  # a quarter of a decade apart over five decades
_LOWEST = {"sgd": 1e-4, "momentum": 1e-4, "adam": 1e-5}
_DECADES = 5


@dataclass(frozen=True)
class Case:
    """One thing that methods are compared on.

    Attributes:
        name: `task-model/optimizer/schedule`.
        task: Built-in task, or the import path of a build function.
        options: Options of the task, or parameters that every configuration has.
        axes: The grid: name to values. `lr` is its last axis and `init_seed` the one before.
        is_held_in: Whether defaults were tuned on it.
    """

    name: str
    task: str
    options: Mapping[str, Any]
    axes: Mapping[str, tuple[Any, ...]]
    is_held_in: bool = False
    build: Build | None = field(default=None, compare=False, repr=False)

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates of the grid, ascending."""
        return self.axes["lr"]

    @property
    def others(self) -> dict[str, tuple[Any, ...]]:
        """The axes that have no order and are no seed."""
        return {name: v for name, v in self.axes.items() if name not in ("lr", "init_seed")}

    @cached_property
    def cells(self) -> list[dict[str, Any]]:
        """Every configuration: parameters in the order of the grid, rates running fastest."""
        names = list(self.axes)
        points = itertools.product(*self.axes.values())
        return [dict(zip(names, point, strict=True)) for point in points]

    def cell_of(self, params: Mapping[str, Any]) -> int:
        """The configuration nearest to parameters: the rate is snapped on its logarithm."""
        index = 0
        for name, values in self.axes.items():
            place = self._nearest(params[name]) if name == "lr" else values.index(params[name])
            index = index * len(values) + place
        return index

    def line_of(self, cell: int) -> int:
        """The search line of a configuration: those that differ from it in their rate alone."""
        return cell // len(self.rates)

    def make_build(self) -> Build:
        """`params -> Training` of this case."""
        if self.build is not None:
            own, options = self.build, dict(self.options)
            return lambda params: own({**options, **params})
        return TaskBuilder(self.task, self.options)

    def definition(self) -> dict[str, Any]:
        """What defines the case, as plain data."""
        axes = {name: list(values) for name, values in self.axes.items()}
        return {"name": self.name, "task": self.task, "options": dict(self.options), "axes": axes}

    def _nearest(self, rate: float) -> int:
        low, high = math.log(self.rates[0]), math.log(self.rates[-1])
        share = (math.log(rate) - low) / (high - low)
        return min(max(round(share * (len(self.rates) - 1)), 0), len(self.rates) - 1)


def build_cell(case: Case, params: Mapping[str, Any]) -> Training:
    """The training of one configuration; global generators are seeded by its `init_seed`.

    So a build function that draws weights without a seed of its own gets others for every seed of
    the grid, and the same ones whenever it is asked again. It trains in the precision that `build`
    gives, and is measured by its `twin`.

    Args:
        case: Whose build function is called.
        params: Its parameters, the rate not necessarily one of the grid.

    Raises:
        UserError: If the build function raises, exits or returns something else than a `Training`.
    """
    try:
        return build_training(case.make_build(), params, int(params["init_seed"]), 0)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in params.items())
        raise UserError(
            f"{case.task}: no training for {given}: {type(error).__name__}: {one_line(error)}"
        ) from error


def twin(training: Training) -> Training:
    """What exponents are measured on: the training itself, or its twin in float64.

    Raises:
        PrecisionError: If a part of it does not run in float64.
    """
    is_narrow = precision_of(training) != torch.float64
    return float64_twin(training) if is_narrow else training


@dataclass(frozen=True)
class _Network:
    """A task with a model, before an optimiser is chosen."""

    task: str
    options: Mapping[str, Any]
    others: Mapping[str, tuple[Any, ...]] = field(
        default_factory=lambda: {"activation": ACTIVATIONS}
    )
    seeds: tuple[int, ...] = SEEDS
    is_held_in: bool = False


_FEW = {"activation": ("relu", "tanh", "gelu")}
_MLP = {"model": "mlp", "hidden": [32, 32], "steps": 400, "batch_size": 64}

_RECURRENT = {"units": 16, "steps": 300, "batch_size": 64}
_INITS = {"init": ("default", "orthogonal", "normal")}

_SMALL = {"model": "mlp", "hidden": [16], "steps": 200, "batch_size": 32}

NETWORKS: Mapping[str, _Network] = {
    "digits-mlp": _Network("digits", _MLP, is_held_in=True),
    "mnist1d-mlp": _Network("mnist1d", _MLP, is_held_in=True),
    "concrete-mlp": _Network("concrete", _MLP, is_held_in=True),
    "digits-deep": _Network(
        "digits", {**_MLP, "hidden": [16] * 4, "steps": 300}, _FEW, (0, 1), is_held_in=True
    ),
    "digits-rnn": _Network(
        "digits", _RECURRENT | {"model": "rnn"}, _INITS, (0, 1), is_held_in=True
    ),
    "digits-gru": _Network(
        "digits", _RECURRENT | {"model": "gru"}, _INITS, (0, 1), is_held_in=True
    ),
    "mnist5k-mlp": _Network("mnist5k", {**_MLP, "hidden": [16]}, _FEW, (0, 1)),
    "mnist1d-gru": _Network(
        "mnist1d",
        {**_RECURRENT, "model": "gru", "patch": 8},
        _INITS,
        (0, 1),
    ),
    "diamonds-mlp": _Network("diamonds", _MLP),
    "digits-small": _Network("digits", _SMALL, _FEW, (0, 1)),
    "breast-cancer-small": _Network("breast-cancer", _SMALL, _FEW, (0, 1)),
    "diabetes-small": _Network("diabetes", _SMALL, _FEW, (0, 1)),
    "digits-cnn": _Network(
        "digits", {"model": "cnn", "channels": [4, 8], "steps": 300, "batch_size": 32}, _FEW, (0, 1)
    ),
}


def case(network: str, optimizer: str, schedule: str = "constant") -> Case:
    """A built-in case.

    Example:
        >>> case("digits-mlp", "sgd").name, len(case("digits-mlp", "sgd").cells)
        ('digits-mlp/sgd/constant', 315)
    """
    if network not in NETWORKS:
        raise UserError(f"there is no benchmark task {network!r}; there are {', '.join(NETWORKS)}")
    if optimizer not in OPTIMIZERS or schedule not in SCHEDULES:
        raise UserError(
            f"there is no {optimizer!r} with {schedule!r}: optimizers are {', '.join(OPTIMIZERS)}, "
            f"schedules {', '.join(SCHEDULES)}"
        )
    chosen = NETWORKS[network]
    options = {**chosen.options, **OPTIMIZERS[optimizer], "schedule": schedule}
    lowest = _LOWEST[optimizer]
    axes = {
        **chosen.others,
        "init_seed": chosen.seeds,
        "lr": spaced(lowest, lowest * 10**_DECADES, RATES),
    }
    name = f"{network}/{optimizer}/{schedule}"
    return Case(name, chosen.task, options, axes, chosen.is_held_in)


def parse_case(text: str) -> Case:
    """A built-in case from `network/optimizer/schedule`, the last two parts optional.

    Example:
        >>> parse_case("concrete-mlp/adam").name
        'concrete-mlp/adam/constant'
    """
    network, *rest = text.split("/")
    return case(network, *(rest or ["sgd"]))


def spaced(low: float, high: float, count: int) -> tuple[float, ...]:
    """Rates evenly spaced on a logarithmic scale.

    Example:
        >>> spaced(0.01, 1.0, 3)
        (0.01, 0.1, 1.0)
    """
    ratio = math.log(high / low) / (count - 1)
    return tuple(float(f"{low * math.exp(ratio * k):.6g}") for k in range(count))


QUICK = ("digits-small/sgd", "breast-cancer-small/adam", "diabetes-small/momentum")
"""Small ones, whose data every installation has, so that tables take seconds."""
HELD_IN = tuple(
    f"{network}/{optimizer}"
    for network in NETWORKS
    if NETWORKS[network].is_held_in
    for optimizer in ("sgd/constant", "momentum/constant", "adam/cosine")
)
_HELD_OUT = tuple(
    network
    for network in NETWORKS
    if not NETWORKS[network].is_held_in and not network.endswith("-small")
)
STANDARD = tuple(
    f"{network}/{optimizer}"
    for network in _HELD_OUT
    for optimizer in ("momentum/constant", "adam/cosine")
)
"""Held-out cases that are reported: four tasks with two optimisers."""
FULL = tuple(
    f"{network}/{optimizer}/{schedule}"
    for network in _HELD_OUT
    for optimizer in OPTIMIZERS
    for schedule in SCHEDULES
)
"""All held-out cases; defaults were chosen on the others, which tell nothing of them."""


def cases_of(names: Sequence[str]) -> list[Case]:
    """Built-in cases by name."""
    return [parse_case(name) for name in names]
