"""What is searched for: tasks and spaces in the words of a study file, and how long a study is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_NETWORKS = "lyapopt.bench.studies.networks"


@dataclass(frozen=True)
class Problem:
    """A task with its search space.

    Attributes:
        name: What it is called.
        task, search_space: As a study file has them.
        steps: Of a full training.
    """

    name: str
    task: Mapping[str, Any]
    search_space: Mapping[str, Any]
    steps: int


def _rate(low: float, high: float) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, "log": True}


def _own(name: str, steps: int, space: Mapping[str, Any]) -> Problem:
    return Problem(name, {"build": f"{_NETWORKS}:{name}"}, space, steps)


_SEED = {"init_seed": {"type": "seed"}}
_DIGITS = {"name": "digits", "model": "mlp", "hidden": [32, 32], "steps": 600, "batch_size": 64}
_XOR = {"name": "xor", "hidden": 8, "output": "linear", "steps": 300}

PROBLEMS: Final[Mapping[str, Problem]] = {
    problem.name: problem
    for problem in (
        _own("readme", 300, {"lr": _rate(1e-4, 1.0)}),
        Problem(
            "digits",
            {**_DIGITS, "optimizer": "sgd"},
            {
                "activation": ["linear", "sigmoid", "relu", "tanh", "gelu"],
                "lr": _rate(0.0005, 5.0),
                **_SEED,
            },
            600,
        ),
        Problem(
            "xor",
            _XOR,
            {"activation": ["linear", "sigmoid", "relu"], "lr": _rate(0.001, 3.0), **_SEED},
            300,
        ),
        _own("regression", 300, {"activation": ["relu", "tanh", "gelu"], "lr": _rate(1e-5, 1.0)}),
        _own("normed", 300, {"lr": _rate(1e-4, 10.0), "weight_decay": _rate(1e-6, 1e-2)}),
        _own("adding", 300, {"units": [8, 16], "lr": _rate(1e-5, 1.0)}),
    )
}
"""Those of `studies/xor.yaml`, `studies/digits.yaml` and the README, and three networks more."""

QUICK: Final = ("readme", "xor")


@dataclass(frozen=True)
class Length:
    """When a study ends.

    Attributes:
        trainings: Its budget of gradient evaluations, in full trainings; `None` for none.
        trials: Its number of trials; `None` for any.
    """

    trainings: int | None = None
    trials: int | None = None

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.trials} trials" if self.trainings is None else f"{self.trainings} trainings"

    def gradients(self, problem: Problem) -> float | None:
        """The budget in gradient evaluations."""
        return None if self.trainings is None else float(self.trainings * problem.steps)


LENGTHS: Final = (Length(trainings=5), Length(trainings=20), Length(trials=30))
"""A budget of which `auto` ranks, one with which TPE learns, and a number of trials."""
