"""What can be set of a probe and of what is kept of a trial: fields, defaults and limits, once.

Neither torch nor pydantic is imported: sections of the study file validate into these very objects,
which `Probe` and `Recorder` take. A field with a `description` is a key of the study file; limits
beside it (`gt`, `ge`, `le`) are those of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lyapopt.checks import Arguments
from lyapopt.errors import RadiusError

__all__ = [
    "COUNT",
    "Distance",
    "Estimator",
    "KeptWeights",
    "NanPolicy",
    "ProbeSettings",
    "RecordSettings",
    "Value",
]

Distance = Literal["weights", "outputs"]
Estimator = Literal["auto", "neighbours", "tangent"]
KeptWeights = Literal["full", "projection", "none"]
Precision = Literal["float32", "float64"]
NanPolicy = Literal["prune", "fail", "worst"]
"""What becomes of a trial whose value is not finite."""
Value = Literal["loss", "metric", "exponent", "both"]
"""What a trial returns; `both` is loss and exponent."""

COUNT = {"ge": 1, "le": 10**15}
"""Limits of a whole number of at least 1."""
NUMBER = {"ge": 0, "le": 10**15}
"""Limits of a whole number of at least 0."""


@dataclass(frozen=True)
class ProbeSettings:
    """How the exponent of a configuration is measured.

    `Probe` says what each field means.
    """

    horizon: int = field(
        default=20,
        metadata={**COUNT, "description": "Steps over which the exponent is measured."},
    )
    neighbours: int = field(
        default=1,
        metadata={
            **COUNT,
            "description": "Perturbed copies that are trained beside the network.",
        },
    )
    radius: float = field(
        default=1e-6,
        metadata={
            "gt": 0,
            "le": 1,
            "description": "Separation that neighbours start with, in weights; it stands for one "
            "without extent, so 1 is already far too large.",
        },
    )
    segment: int = 1
    distance: Distance = field(
        default="weights", metadata={"description": "What the separation is measured in."}
    )
    estimator: Estimator = field(
        default="auto",
        metadata={
            "description": "Finite differences, Jacobian-vector products, or whichever the "
            "network's precision allows."
        },
    )
    level: float = 0.95
    settle: float = field(
        default=0.5,
        metadata={
            "ge": 0,
            "lt": 1,
            "description": "Share of the horizon that is left out of the exponent, in which the "
            "copies turn into the growing direction; 0 is Eq. 4 as published.",
        },
    )

    def __post_init__(self) -> None:
        check = Arguments("Probe")
        for name in ("horizon", "neighbours", "segment"):
            _set(self, name, check.whole(name, getattr(self, name), least=1))
        _set(self, "radius", Arguments("Probe", RadiusError).real("radius", self.radius, above=0))
        check.choice("distance", self.distance, get_args(Distance))
        check.choice("estimator", self.estimator, get_args(Estimator))
        _set(self, "level", check.real("level", self.level, above=0, below=1))
        _set(self, "settle", check.real("settle", self.settle, least=0, below=1))


def _set(settings: object, name: str, value: Any) -> None:
    """Put the plain number of Python in the place of one of NumPy's: settings become JSON."""
    object.__setattr__(settings, name, value)


@dataclass(frozen=True)
class RecordSettings:
    """What is stored of each trial's trajectory.

    Args:
        every: Steps between two recorded weight vectors; losses are kept at every step.
        weights: `full` keeps the weights, `projection` a seeded random projection of them (the
            same for all trials of a study with equally many weights), `none` nothing.
        projection_dim: Dimension of the projection.
        neighbours: Of how many neighbours the weights are kept while they are measured, as
            differences to the trial's own, in the same projection.
        dtype: Precision that series are stored in.
    """

    every: int = field(
        default=1, metadata={**COUNT, "description": "Steps between two stored values."}
    )
    weights: KeptWeights = field(
        default="projection",
        metadata={"description": "All weights, a random projection of them, or none."},
    )
    projection_dim: int = field(
        default=64, metadata={**COUNT, "description": "Dimension of the projection."}
    )
    neighbours: int = field(
        default=0,
        metadata={**NUMBER, "description": "Perturbed copies whose weights are stored, too."},
    )
    dtype: Precision = "float32"

    def __post_init__(self) -> None:
        check = Arguments("record")
        for name in ("every", "projection_dim"):
            _set(self, name, check.whole(name, getattr(self, name), least=1))
        _set(self, "neighbours", check.whole("neighbours", self.neighbours, least=0))
        check.choice("weights", self.weights, get_args(KeptWeights))
        check.choice("dtype", self.dtype, get_args(Precision))
