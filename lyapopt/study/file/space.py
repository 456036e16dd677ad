"""The search space of a study file: what each parameter may be."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from lyapopt.study.file.fields import OWN_ERROR, Section, Shape, fail
from lyapopt.study.file.messages import describe

__all__ = [
    "PARAMETER_TYPES",
    "AnyParameter",
    "CategoricalParameter",
    "Condition",
    "ConstantParameter",
    "FloatParameter",
    "IntParameter",
    "Parameter",
    "SeedParameter",
    "SpaceEntry",
    "same",
]

PARAMETER_TYPES = ("float", "int", "categorical", "seed")


def _scalar(value: Any) -> Any:
    if isinstance(value, list | dict):
        fail(f"expected a number, a string, true, false or null, got {describe(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        fail(f"expected a finite number, got {describe(value)}")
    if isinstance(value, int) and abs(value) >= 2**63:
        fail("a number of more than 64 bits cannot be stored")
    return value


def _values(value: Any) -> Any:
    if value == []:
        fail("expected a value, or a list of values, got an empty list")
    return value if isinstance(value, list) else [value]


_SCALAR_SCHEMA = {"type": ["number", "string", "boolean", "null"]}
_Scalar = Annotated[Any, BeforeValidator(_scalar), Shape(_SCALAR_SCHEMA)]
_Values = Annotated[
    tuple[_Scalar, ...],
    BeforeValidator(_values),
    Field(strict=False),
    Shape({"anyOf": [_SCALAR_SCHEMA, {"type": "array", "items": _SCALAR_SCHEMA, "minItems": 1}]}),
]
Condition = dict[str, _Values]
"""Parameter -> the values it may have: all must hold."""


class Parameter(Section):
    """What every parameter has: a condition under which it exists."""

    when: Condition = Field(
        default_factory=dict,
        description="The parameter exists only when these parameters have these values.",
    )

    def is_active(self, params: Mapping[str, Any]) -> bool:
        """Whether the condition holds for the values of the other parameters.

        >>> momentum = FloatParameter(low=0, high=1, when={"optimizer": ["sgd"]})
        >>> momentum.is_active({"optimizer": "adam"})
        False
        """
        return all(
            name in params and any(same(params[name], value) for value in values)
            for name, values in self.when.items()
        )

    def contains(self, value: Any) -> bool:
        """Whether the parameter can have this value."""
        raise NotImplementedError


class FloatParameter(Parameter):
    """A real number between two bounds."""

    type: Literal["float"] = Field(default="float", description="A real number.")
    low: float = Field(description="Smallest value, included.")
    high: float = Field(description="Largest value, included.")
    log: bool = Field(default=False, description="Draw the logarithm uniformly; low must be > 0.")
    step: float | None = Field(default=None, gt=0, description="Distance of neighbouring values.")

    def contains(self, value: Any) -> bool:
        """Whether the value lies within the bounds and on the grid."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-8  # the tolerance of Optuna's own FloatDistribution


class IntParameter(Parameter):
    """A whole number between two bounds."""

    type: Literal["int"] = Field(default="int", description="A whole number.")
    low: int = Field(ge=-(2**63), lt=2**63, description="Smallest value, included.")
    high: int = Field(ge=-(2**63), lt=2**63, description="Largest value, included.")
    log: bool = Field(default=False, description="Draw the logarithm uniformly; low must be >= 1.")
    step: int = Field(default=1, ge=1, lt=2**63, description="Distance of neighbouring values.")

    def contains(self, value: Any) -> bool:
        """Whether the value is whole, within the bounds and on the grid."""
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0


class CategoricalParameter(Parameter):
    """One of a list of values; in the file a plain list will do."""

    type: Literal["categorical"] = Field(default="categorical", description="One of a list.")
    choices: Annotated[tuple[_Scalar, ...], Field(strict=False)] = Field(
        description="The values: numbers, strings, true, false or null."
    )

    @model_validator(mode="before")
    @classmethod
    def _plain_list(cls, value: Any) -> Any:
        return {"choices": value} if isinstance(value, list) else value

    def contains(self, value: Any) -> bool:
        """Whether the value is one of the choices; `true` is not 1."""
        return any(same(value, choice) for choice in self.choices)


class SeedParameter(Parameter):
    """A seed: a name of a random draw, without order or neighbours, so never given to a model."""

    type: Literal["seed"] = Field(default="seed", description="A seed, drawn outside the sampler.")
    low: int = Field(default=0, ge=0, lt=2**63, description="Smallest seed.")
    high: int = Field(default=2**31 - 1, ge=0, lt=2**63, description="Largest seed.")

    def contains(self, value: Any) -> bool:
        """Whether the value is a seed within the bounds."""
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high


class ConstantParameter(Parameter):
    """A value that is the same in every trial; in the file the plain value."""

    model_config = ConfigDict(json_schema_extra={"x-internal": True})

    type: Literal["constant"] = "constant"
    value: _Scalar

    @model_validator(mode="before")
    @classmethod
    def _plain_value(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"value": value}

    def contains(self, value: Any) -> bool:
        """Whether the value is the constant."""
        return same(value, self.value)


def same(a: Any, b: Any) -> bool:
    """Equality as a study file has it: `true` is not 1, `1` is 1.0.

    >>> same(1, 1.0), same(True, 1)
    (True, False)
    """
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _tag(value: Any) -> str | None:
    if isinstance(value, Parameter):
        return str(getattr(value, "type", None))
    if isinstance(value, list):
        return "categorical"
    if isinstance(value, dict):
        kind = value.get("type")
        return kind if isinstance(kind, str) and kind in PARAMETER_TYPES else None
    return "constant"


SpaceEntry = Annotated[
    Annotated[FloatParameter, Tag("float")]
    | Annotated[IntParameter, Tag("int")]
    | Annotated[CategoricalParameter, Tag("categorical")]
    | Annotated[SeedParameter, Tag("seed")]
    | Annotated[ConstantParameter, Tag("constant")],
    Discriminator(_tag, custom_error_type=OWN_ERROR, custom_error_message="an unknown type"),
]
"""One entry of the search space."""

AnyParameter = (
    FloatParameter | IntParameter | CategoricalParameter | SeedParameter | ConstantParameter
)
