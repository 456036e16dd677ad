"""From the name of a built-in task to `build(params) -> Training`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lyapopt.dynamics import Training
from lyapopt.dynamics.randomness import seed_torch
from lyapopt.errors import UserError
from lyapopt.tasks import data_sets
from lyapopt.tasks.catalogue import TASKS, default_params, options_of
from lyapopt.tasks.data_sets import DataSet
from lyapopt.tasks.models import make_model
from lyapopt.tasks.optimizers import make_optimizer, make_scheduler
from lyapopt.tasks.options import Option

Build = Callable[[Mapping[str, Any]], Training]
"""What a study knows of a task: a function from the parameters of a trial to a training."""


@dataclass(frozen=True)
class TaskBuilder:
    """`build(params)` of a built-in task; parameters of a trial override the task's options.

    Args:
        name: Name of the task, such as `"xor"`.
        options: The task's options by name (see `lyapopt.tasks.catalogue`); the rest are defaults.
        dtype: Of weights and inputs, which it is trained in. In float64 its first steps can be its
            probe; in float32 they are measured by a twin beside it.
        device: Device that models and data lie on.

    Raises:
        UserError: If there is no such task, or its data are not installed.

    Example:
        >>> build = TaskBuilder("xor", {"hidden": 4})
        >>> build({"activation": "relu", "lr": 0.5, "init_seed": 3}).steps
        300
    """

    name: str
    options: Mapping[str, Any]
    dtype: torch.dtype = torch.float64
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.name not in TASKS:
            raise UserError(f"there is no task {self.name!r}; there are {', '.join(TASKS)}")
        check_package(self.name)

    def __call__(self, params: Mapping[str, Any]) -> Training:
        """The training that `params` describe.

        Raises:
            UserError: If a parameter is no option of the task.
        """
        options = self._options({**self.options, **params})
        data, loss_fn, metric = _parts(self.name, options, self.dtype, self.device)
        model = self._initialised(options, data)
        optimizer = make_optimizer(model, options)
        return Training(
            model=model,
            loss_fn=loss_fn,
            optimizer=optimizer,
            data=data.training,
            batch_size=options["batch_size"],
            steps=options["steps"],
            scheduler=make_scheduler(optimizer, options),
            clip_grad_norm=options["clip_grad_norm"],
            validation=data.validation,
            metric=metric,
            seed=options["data_seed"],
        )

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every option of the task, as given or by default."""
        table = _table(self.name, given.get("model"))
        unknown = sorted(given.keys() - table.all_names)
        if unknown:
            raise UserError(f"task {self.name!r} has no option {', '.join(unknown)}")
        known = table.known
        own = {name: known[name].normalise(v) for name, v in given.items() if name in known}
        return {**table.defaults, **own}

    def _initialised(self, options: Mapping[str, Any], data: DataSet) -> nn.Module:
        """The model, drawn from `init_seed`, or from torch's generator where that is `None`."""
        seed = options["init_seed"]
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                seed_torch(seed)
            # Drawn in float64 on the CPU, so that one seed is one network whatever it runs on.
            model = make_model(options, data.shape, data.outputs).double()
        if options.get("output") == "sigmoid":
            model = nn.Sequential(*model.children(), nn.Sigmoid())
        return model.to(device=self.device, dtype=self.dtype)


def accuracy(outputs: Tensor, target: Tensor) -> float:
    """Share of examples whose largest output is the right class."""
    return float((outputs.argmax(-1) == target).double().mean())


Metric = Callable[[Any, Tensor], float]


def _parts(
    name: str, options: Mapping[str, Any], dtype: torch.dtype, device: str
) -> tuple[DataSet, nn.Module, Metric | None]:
    """Data, loss and metric of a task."""
    seed = options["data_seed"]
    if name == "xor":
        noise = float(options["noise"])
        return data_sets.xor(options["samples"], noise, seed, dtype, device), nn.MSELoss(), None
    data = data_sets.by_name(name, float(options["validation_fraction"]), seed, dtype, device)
    if options["loss"] == "cross-entropy":
        return data, nn.CrossEntropyLoss(), accuracy
    return data, nn.MSELoss(), None


def check_package(task: str) -> None:
    """Check that the package with a task's data is installed.

    Raises:
        UserError: If it is not.
    """
    package = TASKS[task].package
    if package is not None and importlib.util.find_spec(package) is None:
        raise UserError(
            f"task {task!r} reads its data from the package {package}, which is not installed: "
            "pip install 'lyapopt[bench]'"
        )


class _Table(NamedTuple):
    """The options of a task with one of its models.

    Attributes:
        known: By name.
        defaults: Their defaults.
        all_names: Names of the options with all models: a search over models has them all.
    """

    known: Mapping[str, Option]
    defaults: Mapping[str, Any]
    all_names: frozenset[str]


@cache
def _table(task: str, model: str | None) -> _Table:
    models = None if model is None else (model,)
    names = frozenset(options_of(task, TASKS[task].models))
    return _Table(options_of(task, models), default_params(task, models), names)
