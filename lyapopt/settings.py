"""What can be set of a probe and of what is kept of a trial: fields, defaults and limits, once.

Neither torch nor pydantic is imported: sections of the study file validate into these very objects,
which `Probe` and `Recorder` take. A field with a `description` is a key of the study file; limits
beside it (`gt`, `ge`, `le`) are those of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lyapopt.errors import UserError

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
Estimator = Literal["neighbours", "tangent"]
KeptWeights = Literal["full", "projection", "none"]
NanPolicy = Literal["prune", "fail", "worst"]
"""What becomes of a trial whose value is not finite."""
Value = Literal["loss", "metric", "exponent", "both"]
"""What a trial returns; `both` is loss and exponent."""

COUNT = {"ge": 1, "le": 10**15}
"""Limits of a whole number of at least 1."""


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
        default="neighbours",
        metadata={"description": "Finite differences, or Jacobian-vector products."},
    )
    level: float = 0.95

    def __post_init__(self) -> None:
        for name in ("horizon", "neighbours", "segment"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"Probe: {name} must be a positive integer, not {value!r}")
        _check_choice("distance", self.distance, Distance)
        _check_choice("estimator", self.estimator, Estimator)
        if not 0 < self.level < 1:
            raise UserError(f"Probe: level must lie between 0 and 1, not {self.level!r}")


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        known = " or ".join(map(repr, get_args(choices)))
        raise UserError(f"Probe: {name} must be {known}, not {value!r}")


@dataclass(frozen=True)
class RecordSettings:
    """What is stored of each trial's trajectory.

    Args:
        every: Steps between two recorded weight vectors; losses are kept at every step.
        weights: `full` keeps the weights, `projection` a seeded random projection of them (the
            same for all trials of a study with equally many weights), `none` nothing.
        projection_dim: Dimension of the projection.
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
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        for name in ("every", "projection_dim"):
            if getattr(self, name) < 1:
                raise UserError(f"record: {name} must be at least 1, not {getattr(self, name)}")
