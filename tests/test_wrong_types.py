"""Every public constructor and function says of an argument of the wrong type what to give."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import FloatDistribution
from torch import Tensor, nn

import lyapopt
from lyapopt.errors import UserError
from lyapopt.paper import GatedPercentilePruner
from lyapopt.probe import VerdictRule
from lyapopt.search import RecordSettings

RESULTS = {"Exponent", "Measurement", "Spectrum"}
"""Made by functions of ours, and by nobody else."""
NO_ARGUMENTS = {"Map", "UserError", "Verdict", "__version__"}
"""A protocol, an error, an enumeration and a text."""

SPACE = {"lr": FloatDistribution(1e-3, 0.5, log=True)}


def build(params: Any) -> lyapopt.Training:
    return training(lr=params["lr"])


def training(lr: float = 0.1, **changes: Any) -> lyapopt.Training:
    model = changes.pop("model", None) or nn.Linear(2, 1)
    parts = {
        "model": model,
        "loss_fn": nn.MSELoss(),
        "optimizer": torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=lr),
        "data": (torch.eye(2), torch.ones(2, 1)),
        **changes,
    }
    return lyapopt.Training(**parts)


def step(z: Tensor, t: int) -> Tensor:
    return 0.5 * z


def stack_of(**changes: Any) -> Any:
    given = {"trainings": [], **changes}
    return lyapopt.TrainingMap(**given)


def measured(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(**changes: Any) -> Any:
        z0 = torch.ones(1, 1, 2, dtype=torch.float64)
        return function(**{"step": step, "z0": z0, "horizon": 3, **changes})

    return call


def of_network(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(**changes: Any) -> Any:
        model = nn.Linear(2, 1)
        given = {
            "model": model,
            "loss_fn": nn.MSELoss(),
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
            "data": (torch.eye(2), torch.ones(2, 1)),
            "horizon": 2,
        }
        return function(**{**given, **changes})

    return call


def suggested(**changes: Any) -> Any:
    """`suggest_lr` with one argument changed."""
    model = nn.Linear(2, 1)
    optimizer, trial = torch.optim.SGD(model.parameters(), lr=0.1), optuna.create_study().ask()
    given = {"trial": trial, "name": "lr", "low": 0.1, "high": 1.0, "loss_fn": nn.MSELoss()}
    data = (torch.eye(2), torch.ones(2, 1))
    own = {"model": model, "optimizer": optimizer, "loader": data, "record": False}
    return lyapopt.suggest_lr(**{**given, **own, **changes})


def found(**changes: Any) -> Any:
    """`find_lr` with one argument changed."""
    model = nn.Linear(2, 1)
    given = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loss_fn": nn.MSELoss(),
        "loader": (torch.eye(2), torch.ones(2, 1)),
    }
    return lyapopt.find_lr(**{**given, **changes})


def watched(**changes: Any) -> Any:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    given = {"trial": None, "model": model, "optimizer": optimizer, "loss_fn": nn.MSELoss()}
    return lyapopt.watch(**{**given, **changes})


def with_defaults(function: Callable[..., Any], **given: Any) -> Callable[..., Any]:
    return lambda **changes: function(**{**given, **changes})


COUNTS = ("x", 0, -3, 2.5, True, None)
NUMBERS = ("x", float("nan"), float("inf"), [1.0], True, 10**400)
SHARES = (*NUMBERS, 0, 1)
FLAGS = ("yes", 1, None)
INTEGERS = ("x", 1.5, True, [1])
FUNCTIONS = (5, "x", [])
OBJECTS = (5, "x", object())

_MEASURING = {
    "step": (5, "x"),
    "z0": (5, [1.0], torch.ones(2)),
    "horizon": COUNTS,
    "segment": COUNTS,
    "burn_in": ("x", -1, 1.5),
    "seed": ("x", 1.5, [1, 2]),
    "start": INTEGERS,
    "observe": FUNCTIONS,
}
_TRAINING = {
    "model": (5, "x", nn.Linear),
    "loss_fn": FUNCTIONS,
    "optimizer": (5, "adam"),
    "data": (5, "x", (torch.eye(2), 5)),
    "batch_size": COUNTS[:-1],
    "scheduler": (5, "cosine"),
    "clip_grad_norm": ("x", 0, -1.0, float("nan"), True),
}
_NETWORK = {**_TRAINING, "horizon": COUNTS, "seed": ("x", 1.5, [1, 2]), "dtype": ("float64", 5)}
_WRAPPED = (5, "median", optuna.samplers.RandomSampler(), optuna.pruners.MedianPruner)
_BASE = (5, "tpe", optuna.pruners.NopPruner(), optuna.samplers.TPESampler)

CASES: dict[str, tuple[Callable[..., Any], dict[str, tuple[Any, ...]]]] = {
    "EdgeOfChaosSampler": (
        with_defaults(lyapopt.EdgeOfChaosSampler, build=build),
        {
            "base": _BASE,
            "build": FUNCTIONS,
            "probe": OBJECTS,
            "steer": (5, None),
            "target": ("x", 0, -1.0, float("nan"), None, True),
            "search_space": (5, "x", []),
            "rates_at_once": COUNTS,
            "rounds": COUNTS,
            "reuse": ("x", -0.1, float("inf"), True),
            "seed": INTEGERS,
        },
    ),
    "GatedPercentilePruner": (
        GatedPercentilePruner,
        {"percentile": (*NUMBERS, 0, 100), "n_startup_trials": COUNTS, "wrapped": _WRAPPED},
    ),
    "LyapunovPruner": (
        lyapopt.LyapunovPruner,
        {
            "slow": (*NUMBERS, 1),
            "hot": (*NUMBERS, 0),
            "dead": FLAGS,
            "wrapped": _WRAPPED,
        },
    ),
    "Objective": (
        with_defaults(lyapopt.Objective, build=build, search_space=SPACE),
        {
            "build": FUNCTIONS,
            "search_space": (5, "x", [], None),
            "value": ("x", 5, None, ["loss"]),
            "probe": OBJECTS,
            "record": OBJECTS,
            "store": OBJECTS,
            "seed": INTEGERS,
            "nan": ("x", 5, None),
            "reports": ("x", 0, -3, 2.5, True),
            "constrain_hot": NUMBERS,
            "compile": ("yes", True, None),
            "networks": (5, ["x"], [-1], "x"),
            "stop_at": COUNTS[:-1],
        },
    ),
    "Probe": (
        lyapopt.Probe,
        {
            "horizon": COUNTS,
            "neighbours": COUNTS,
            "radius": (*NUMBERS, 0, None),
            "segment": COUNTS,
            "distance": ("x", 5, None),
            "estimator": ("x", 5, None),
            "level": ("a", *SHARES),
            "rule": (*OBJECTS, None),
        },
    ),
    "ScreeningSampler": (
        with_defaults(lyapopt.ScreeningSampler, build=build),
        {
            "base": _BASE,
            "build": FUNCTIONS,
            "probe": OBJECTS,
            "candidates": COUNTS,
            "rule": ("x", 5, None),
            "search_space": (5, "x", []),
            "seed": INTEGERS,
        },
    ),
    "SearchSpace": (
        with_defaults(lyapopt.SearchSpace, entries=SPACE),
        {"entries": (5, "x", [], {5: 1}), "conditions": (5, "x", {"lr": "x"})},
    ),
    "SeededSampler": (
        with_defaults(lyapopt.SeededSampler, base=optuna.samplers.RandomSampler(), seed=0),
        {"base": (*_BASE, None), "seed": (*INTEGERS, None), "seeds": (5, ["x"], {"x": 5})},
    ),
    "StudyData": (
        with_defaults(lyapopt.StudyData, storage="sqlite://"),
        {"study": (5, "x", None)},
    ),
    "Training": (
        training,
        {
            **_TRAINING,
            "steps": COUNTS[:-1],
            "validation": (5, "x", (5, 5)),
            "metric": FUNCTIONS,
            "seed": INTEGERS,
        },
    ),
    "TrainingMap": (
        stack_of,
        {
            "trainings": (5, "x", [5], training()),
            "compile": ("yes", True, None),
            "expected_steps": ("x", -1, 1.5),
        },
    ),
    "TrajectoryStore": (
        with_defaults(lyapopt.TrajectoryStore, url="sqlite://"),
        {"url": (5, None, ["sqlite://"]), "create": FLAGS, "timeout": (*NUMBERS, -1, None)},
    ),
    "BufferedStorage": (
        with_defaults(lyapopt.BufferedStorage, storage="sqlite://"),
        {
            "storage": (5, None, ["sqlite://"]),
            "interval": (*NUMBERS, 0, -1, None),
            "retry": (5, "often"),
            "parameters_at_once": FLAGS,
        },
    ),
    "compare": (lyapopt.compare, {"studies": (5, "x", ["x"], None)}),
    "from_neighbours": (
        measured(lyapopt.from_neighbours),
        {
            **_MEASURING,
            "neighbours": COUNTS,
            "radius": (*NUMBERS, 0, None),
            "distance": ("x", 5, None),
            "redraw": FLAGS,
            "check_linearity": FLAGS,
        },
    ),
    "from_tangents": (measured(lyapopt.from_tangents), {**_MEASURING, "tangents": COUNTS}),
    "load": (
        with_defaults(lyapopt.load, storage="sqlite:///nowhere.db"),
        {"storage": (5, None, []), "study_name": (5, []), "store": (5, [])},
    ),
    "load_study_file": (
        with_defaults(lyapopt.load_study_file, path="nowhere.yaml"),
        {"path": (5, None, b"x"), "overrides": ("seed=1", 5, [5], {"seed": 1})},
    ),
    "run_study": (
        with_defaults(lyapopt.run_study, file="study.yaml"),
        {"file": ("study.yaml", 5, None, {"task": "xor"})},
    ),
    "spectrum": (
        measured(lyapopt.spectrum),
        {
            **{k: v for k, v in _MEASURING.items() if k not in ("segment", "observe")},
            "k": ("x", 0, 3, 1.5, True),
            "qr_every": COUNTS,
            "perturb": ("x", 5),
            "chunk": COUNTS[:-1],
        },
    ),
    "steer": (
        with_defaults(lyapopt.steer, build=build),
        {
            "build": FUNCTIONS,
            "params": (5, "x", []),
            "name": (5, None),
            "low": (*NUMBERS, 0, None),
            "high": (*NUMBERS, 0, 1e-9, None),
            "steps": COUNTS[:-1],
            "target": (*NUMBERS, 0),
            "seed": INTEGERS,
        },
    ),
    "find_lr": (
        found,
        {
            "model": OBJECTS,
            "optimizer": OBJECTS,
            "loss_fn": FUNCTIONS,
            "loader": (5, "x", None),
            "steps": COUNTS[:-1],
            "low": (*NUMBERS, 0, None),
            "high": (*NUMBERS, 0, 1e-9, None),
            "batch_size": COUNTS[:-1],
            "scheduler": (5, "x"),
            "clip_grad_norm": (0, -1, "x"),
            "target": (*NUMBERS, 0),
            "seed": INTEGERS,
        },
    ),
    "training_exponent": (of_network(lyapopt.training_exponent), _NETWORK),
    "training_spectrum": (of_network(lyapopt.training_spectrum), _NETWORK),
    "enqueue_best": (
        with_defaults(
            lyapopt.enqueue_best, study=optuna.create_study(), full=optuna.create_study(), n=5
        ),
        {"study": OBJECTS, "full": OBJECTS, "n": COUNTS[:-1]},
    ),
    "suggest_lr": (
        suggested,
        {
            "trial": OBJECTS,
            "name": (5, None),
            "low": NUMBERS,
            "high": NUMBERS,
            "model": OBJECTS,
            "optimizer": OBJECTS,
            "loss_fn": FUNCTIONS,
            "loader": (5, "x", None),
            "batch_size": COUNTS[:-1],
            "scheduler": (5, "x"),
            "clip_grad_norm": (0, -1, "x"),
            "target": (0, -1, "x"),
            "probe": OBJECTS,
            "rates_at_once": COUNTS,
            "rounds": COUNTS,
            "reuse": (-1, "x"),
            "seeds": (5, "x", None),
            "seed": INTEGERS,
            "record": OBJECTS,
            "store": OBJECTS,
        },
    ),
    "watch": (
        watched,
        {
            "trial": OBJECTS,
            "model": (5, "x", nn.Linear),
            "optimizer": (5, "adam", torch.optim.SGD),
            "loss_fn": (*FUNCTIONS, None),
            "horizon": COUNTS,
            "neighbours": COUNTS,
            "radius": (*NUMBERS, 0, None),
            "accumulate": COUNTS[:-1],
            "clip_grad_norm": ("x", 0, float("nan"), True),
            "rule": OBJECTS,
            "seed": INTEGERS,
        },
    ),
    # Not in `lyapopt.__all__`, and arguments of what is
    "RecordSettings": (
        RecordSettings,
        {
            "every": COUNTS,
            "projection_dim": COUNTS,
            "neighbours": ("x", -3, 2.5, True, None),
            "weights": ("x", 5),
            "dtype": ("x", 5),
        },
    ),
    "VerdictRule": (
        VerdictRule,
        {
            "hot": (*NUMBERS, 0),
            "resolution": (*NUMBERS, -1),
            "slow": NUMBERS,
            "blow_up": (*NUMBERS, 1),
        },
    ),
    "Probe.measure": (
        lyapopt.Probe().measure,
        {"trainings": (5, "x", [5], training())},
    ),
}


def _each() -> Iterator[Any]:
    for name, (call, arguments) in CASES.items():
        for argument, values in arguments.items():
            for value in values:
                shown = type(value).__name__
                yield pytest.param(call, argument, value, id=f"{name}({argument}={shown})")


@pytest.mark.parametrize(("call", "argument", "value"), list(_each()))
def test_an_argument_of_the_wrong_type_is_named_with_what_was_given(
    call: Callable[..., Any], argument: str, value: Any
) -> None:
    with pytest.raises(UserError) as caught:
        call(**{argument: value})
    message = str(caught.value)
    assert re.search(rf"\b{argument}\b|{argument.rstrip('s')}", message), message
    assert len(message) < 400
    assert "object at 0x" not in message


def test_every_public_name_is_covered() -> None:
    assert {*lyapopt.__all__} - RESULTS - NO_ARGUMENTS <= {*CASES}


def test_numbers_of_numpy_are_numbers() -> None:
    probe = lyapopt.Probe(horizon=np.int64(7), radius=np.float32(0.5), level=np.float64(0.9))
    assert (type(probe.horizon), type(probe.radius), type(probe.level)) == (int, float, float)
    made = training(steps=np.int32(5), batch_size=np.int64(2), seed=np.int64(3))
    assert (made.steps, made.batch_size, made.seed) == (5, 2, 3)
    assert type(made.steps) is type(made.seed) is int
