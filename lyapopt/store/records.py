"""What is stored of a trial, as plain values: no torch, no Optuna, no SQL."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lyapopt.store.states import RunState

_STORABLE = "biuf"
_MAX_RUN = 36
_MAX_NAME = 255
_INT64 = range(-(2**63), 2**63)


def new_run_id() -> str:
    """A fresh identifier of a run: 32 hexadecimal digits of a random UUID.

    Mint one at every start of a trial: copies and retries of a trial carry over the attribute of
    the trial that they come from.

    Example:
        >>> len(new_run_id())
        32
    """
    return uuid.uuid4().hex


def _check_name(name: str, what: str) -> None:
    if not name or len(name) > _MAX_NAME:
        raise ValueError(f"the name of {what} has 1 to {_MAX_NAME} characters, not {name!r:.80}")


def _check_unique(names: Sequence[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} of a run have different names; given twice: {', '.join(twice)}")


@dataclass(frozen=True)
class ExponentRecord:
    """One exponent of one trial, with what is needed to know which quantity it is.

    Args:
        name: Unique within the run, such as `"neighbours@20"`. The first exponent of a run is the
            one that the view `lyapopt_trials` shows.
        value: The exponent in `unit` per `per`; None where there is none, NaN and infinities kept.
        low: Lower end of the interval, None without one.
        high: Upper end of the interval, None without one.
        level: Coverage of the interval, such as 0.95.
        estimand: What the interval is about, such as `"time"` or `"neighbours"`.
        unit: `"nats"`, or another unit of logarithm.
        per: `"step"`, `"epoch"` or `"time"`.
        horizon: Steps over which it was measured.
        neighbours: Number of neighbours; None for tangents.
        radius: Separation that neighbours start with; None for tangents.
        segment: Steps between two rescalings.
        burn_in: Steps before the measurement.
        distance: `"weights"`, `"outputs"` or the name of a distance.
        estimator: `"neighbours"` or `"tangent"`.
        flags: What is to be known about the estimate, by name.
        details: Further numbers and texts, such as the step at which a flag was raised.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    estimand: str | None = None
    unit: str = "nats"
    per: str = "step"
    horizon: int | None = None
    neighbours: int | None = None
    radius: float | None = None
    segment: int | None = None
    burn_in: int = 0
    distance: str | None = None
    estimator: str | None = None
    flags: tuple[str, ...] = ()
    details: Mapping[str, float | int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name(self.name, "an exponent")


@dataclass(frozen=True, eq=False)
class TrajectoryRecord:
    """One named series of one trial: a number, or an array of numbers, at each of `T` steps.

    Args:
        name: Unique within the run, such as `"loss"`, `"separation"` or `"weights"`.
        values: Shape `(T, ...)`; floats, integers or booleans, stored in their dtype.
        steps: Shape `(T,)`, the steps at which the values were taken; None for `0 .. T-1`.

    Raises:
        ValueError: If the shapes do not fit or the dtype is not one of numbers.

    Example:
        >>> TrajectoryRecord("loss", np.array([0.5, 0.25], np.float32)).values.shape
        (2,)
    """

    name: str
    values: NDArray[np.generic]
    steps: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        _check_name(self.name, "a trajectory")
        values = np.asarray(self.values)
        if values.dtype.kind not in _STORABLE or values.dtype.itemsize > 8:
            raise ValueError(
                f"trajectory {self.name!r} has dtype {values.dtype}; "
                "it must be floats, integers or booleans of at most 64 bits"
            )
        if values.ndim == 0:
            raise ValueError(f"trajectory {self.name!r} is a single number, not a series of them")
        object.__setattr__(self, "values", values)
        if self.steps is None:
            return
        steps = np.asarray(self.steps)
        if steps.shape != values.shape[:1] or steps.dtype.kind not in "iu":
            raise ValueError(
                f"the steps of trajectory {self.name!r} must be {values.shape[0]} integers, one "
                f"for each value, not shape {steps.shape} of {steps.dtype}"
            )
        object.__setattr__(self, "steps", steps.astype(np.int64, copy=False))


@dataclass(frozen=True)
class Decision:
    """What a rule decided about a trial at one step, and from which numbers.

    Args:
        step: Step of training at which the rule was asked.
        rule: Name of the rule, such as the class of a pruner.
        pruned: Whether it stopped the trial.
        reason: Why, in words.
        numbers: Numbers that the rule compared, by name.
    """

    step: int
    rule: str
    pruned: bool
    reason: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name(self.rule, "a rule")


@dataclass(frozen=True)
class RunRecord:
    """Everything that is stored of one run of one trial.

    Args:
        run: Identifier from `new_run_id`, also in the trial's user attribute `RUN_ATTRIBUTE`.
        study_name: Name of the study when the trial ran.
        trial_number: Optuna's number of the trial.
        state: How the run ended, or `"running"`.
        logical_number: Number that randomness follows from; a retry keeps that of the first try.
        values: Values of the objectives, or None.
        verdict: One of the verdicts, or None.
        reason: Why it ended as it did, in words.
        steps: Steps of training done.
        gradient_evaluations: Cost, neighbours and probes counted.
        examples: Training examples seen, those of neighbours and probes counted.
        seed: Seed of the run.
        started_at: With a time zone.
        finished_at: With a time zone; None while running.
        versions: Versions of what it ran with, by package.
        settings: Settings of probe and recording; whatever JSON can say.
        exponents: The first is the one that tables show.
        trajectories: Named series.
        decisions: Decisions in the order in which they were taken.

    Raises:
        ValueError: If a value is out of its range; the message names it.
    """

    run: str
    study_name: str
    trial_number: int
    state: RunState
    logical_number: int | None = None
    values: tuple[float, ...] | None = None
    verdict: str | None = None
    reason: str | None = None
    steps: int = 0
    gradient_evaluations: float = 0.0
    examples: int = 0
    seed: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    exponents: tuple[ExponentRecord, ...] = ()
    trajectories: tuple[TrajectoryRecord, ...] = ()
    decisions: tuple[Decision, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.run) <= _MAX_RUN:
            raise ValueError(f"a run has 1 to {_MAX_RUN} characters, not {self.run!r:.80}")
        if self.state not in get_args(RunState):
            raise ValueError(f"state {self.state!r} is none of {', '.join(get_args(RunState))}")
        if not math.isfinite(self.gradient_evaluations):
            raise ValueError(f"gradient_evaluations is {self.gradient_evaluations}, not a count")
        if self.seed not in _INT64:
            raise ValueError(f"seed {self.seed} does not fit into 64 bits with a sign")
        for name in ("started_at", "finished_at"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{name} has no time zone; use datetime.now(timezone.utc)")
        _check_unique([exponent.name for exponent in self.exponents], "exponents")
        _check_unique([trajectory.name for trajectory in self.trajectories], "trajectories")
