"""A search space: parameters, the conditions under which they exist, and seeds.

Neither Optuna nor torch nor pydantic is imported: the study file validates into these very objects,
and `lyapopt.search.space` turns them into Optuna's distributions. The `description` of a field is
what the study file says of the key; limits beside it (`gt`, `ge`, `lt`) are those of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, overload

__all__ = [
    "AnyParameter",
    "CategoricalParameter",
    "Condition",
    "ConstantParameter",
    "FloatParameter",
    "IntParameter",
    "Parameter",
    "SeedParameter",
    "in_order",
    "on_grid",
    "same",
]

Condition = Mapping[str, tuple[Any, ...]]
"""Parameter -> the values it may have: all must hold."""

_INT_64 = {"ge": -(2**63), "lt": 2**63}
_SEED = {"ge": 0, "lt": 2**63}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What every parameter has: a condition under which it exists."""

    when: Condition = field(
        default_factory=dict,
        hash=False,
        repr=False,
        metadata={
            "description": "The parameter exists only when these parameters have these values."
        },
    )

    def is_active(self, params: Mapping[str, Any]) -> bool:
        """Whether the condition holds for the values of the other parameters; `true` is not 1.

        >>> momentum = FloatParameter(0, 1, when={"nesterov": (True,)})
        >>> momentum.is_active({"nesterov": True}), momentum.is_active({"nesterov": 1})
        (True, False)
        """
        return all(
            name in params and any(same(params[name], value) for value in values)
            for name, values in self.when.items()
        )

    def contains(self, value: object) -> bool:
        """Whether the parameter can have this value."""
        raise NotImplementedError

    @property
    def is_finite(self) -> bool:
        """Whether one can go through its values."""
        return True

    def values(self) -> Sequence[Any]:
        """All values that it can have, if it is finite."""
        raise NotImplementedError


@dataclass(frozen=True)
class FloatParameter(Parameter):
    """A real number between two bounds."""

    type: Literal["float"] = field(
        default="float", init=False, repr=False, metadata={"description": "A real number."}
    )
    low: float = field(metadata={"description": "Smallest value, included."})
    high: float = field(metadata={"description": "Largest value, included."})
    log: bool = field(
        default=False,
        metadata={"description": "Draw the logarithm uniformly; low must be > 0."},
    )
    step: float | None = field(
        default=None, metadata={"gt": 0, "description": "Distance of neighbouring values."}
    )

    def contains(self, value: object) -> bool:
        """Whether the value lies within the bounds and on the grid."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-8  # the tolerance of Optuna's own FloatDistribution

    @property
    def is_finite(self) -> bool:
        """Whether it has a step."""
        return self.step is not None

    def values(self) -> Sequence[float]:
        """The grid, if it has a step, as one would write it; made as it is read, as `range` is.

        >>> list(FloatParameter(0.1, 0.5, step=0.1).values())
        [0.1, 0.2, 0.3, 0.4, 0.5]
        """
        assert self.step is not None
        return _Grid(self.low, self.high, self.step)


class _Grid(Sequence[float]):
    """The decimals from `low` to `high` in steps."""

    def __init__(self, low: float, high: float, step: float) -> None:
        self._low, self._step = _decimal(low), _decimal(step)
        self._range = range(int((_decimal(high) - self._low) // self._step) + 1)

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        if isinstance(index, slice):
            return [self[k] for k in self._range[index]]
        return float(self._low + self._step * self._range[index])


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))


def on_grid(value: float, low: float, step: float) -> float:
    """The point of a grid that is nearest, without the rounding errors of `low + step * k`.

    >>> 0.1 + 0.1 * 2, on_grid(0.1 + 0.1 * 2, 0.1, 0.1)
    (0.30000000000000004, 0.3)
    """
    return float(_decimal(low) + _decimal(step) * round((value - low) / step))


@dataclass(frozen=True)
class IntParameter(Parameter):
    """A whole number between two bounds."""

    type: Literal["int"] = field(
        default="int", init=False, repr=False, metadata={"description": "A whole number."}
    )
    low: int = field(metadata={**_INT_64, "description": "Smallest value, included."})
    high: int = field(metadata={**_INT_64, "description": "Largest value, included."})
    log: bool = field(
        default=False,
        metadata={"description": "Draw the logarithm uniformly; low must be >= 1."},
    )
    step: int = field(
        default=1,
        metadata={"ge": 1, "lt": 2**63, "description": "Distance of neighbouring values."},
    )

    def contains(self, value: object) -> bool:
        """Whether the value is whole, within the bounds and on the grid."""
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def values(self) -> Sequence[int]:
        """From `low` to `high`; a range, since there may be very many."""
        return range(self.low, self.high + 1, self.step)


@dataclass(frozen=True)
class CategoricalParameter(Parameter):
    """One of a list of values; in the file a plain list will do."""

    type: Literal["categorical"] = field(
        default="categorical", init=False, repr=False, metadata={"description": "One of a list."}
    )
    choices: tuple[Any, ...] = field(
        metadata={"description": "The values: numbers, strings, true, false or null."}
    )

    def contains(self, value: object) -> bool:
        """Whether the value is one of the choices; `true` is not 1."""
        return any(same(value, choice) for choice in self.choices)

    def values(self) -> Sequence[Any]:
        """The choices."""
        return self.choices


@dataclass(frozen=True)
class SeedParameter(Parameter):
    """A seed: a name of a random draw, without order or neighbours, so never given to a model.

    It is drawn from (study seed, trial number): a sampler that is given a seed as an integer learns
    from noise.
    """

    type: Literal["seed"] = field(
        default="seed",
        init=False,
        repr=False,
        metadata={"description": "A seed, drawn outside the sampler."},
    )
    low: int = field(default=0, metadata={**_SEED, "description": "Smallest seed."})
    high: int = field(default=2**31 - 1, metadata={**_SEED, "description": "Largest seed."})

    def contains(self, value: object) -> bool:
        """Whether the value is a seed within the bounds."""
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high

    @property
    def is_finite(self) -> bool:
        """Seeds have no order to go through them in."""
        return False

    def seed_of(self, number: int) -> int:
        """The seed that a random number stands for.

        >>> SeedParameter(5, 9).seed_of(10**12)
        5
        """
        return self.low + number % (self.high - self.low + 1)


@dataclass(frozen=True)
class ConstantParameter(Parameter):
    """A value that is the same in every trial; in the file the plain value."""

    type: Literal["constant"] = field(
        default="constant", init=False, repr=False, metadata={"description": "A constant."}
    )
    value: Any = field(metadata={"description": "The value."})

    def contains(self, value: object) -> bool:
        """Whether the value is the constant."""
        return same(value, self.value)

    def values(self) -> Sequence[Any]:
        """The constant."""
        return (self.value,)


AnyParameter = (
    FloatParameter | IntParameter | CategoricalParameter | SeedParameter | ConstantParameter
)
"""A parameter of any type."""


def same(a: object, b: object) -> bool:
    """Equality as a study file has it: `true` is not 1, `1` is 1.0.

    >>> same(1, 1.0), same(True, 1)
    (True, False)
    """
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def in_order(parameters: Mapping[str, AnyParameter]) -> dict[str, AnyParameter]:
    """The parameters, each after those that its condition reads, else in the order they have.

    Not `graphlib`: what needs no other place keeps its own, and a circle, which the study file
    refuses with its place, is no error here.

    >>> momentum = FloatParameter(0, 1, when={"optimizer": ("sgd",)})
    >>> list(in_order({"momentum": momentum, "optimizer": CategoricalParameter(("sgd", "adam"))}))
    ['optimizer', 'momentum']
    """
    ordered: dict[str, AnyParameter] = {}

    def visit(name: str, around: tuple[str, ...]) -> None:
        if name not in parameters or name in ordered or name in around:
            return
        for other in parameters[name].when:
            visit(other, (*around, name))
        ordered[name] = parameters[name]

    for name in parameters:
        visit(name, ())
    return ordered
