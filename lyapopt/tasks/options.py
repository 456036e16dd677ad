"""An option of a built-in task: its name, type, default and bounds, without importing torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

OptionType = Literal["int", "float", "bool", "choice", "ints", "pair", "seed"]

_EXPECTED: Mapping[str, str] = {
    "int": "a whole number{bounds}",
    "float": "a number{bounds}",
    "bool": "true or false",
    "choice": "a name",
    "ints": "a list of whole numbers{bounds}, as in [32, 32]",
    "pair": "two numbers{bounds}, as in [0.9, 0.999]",
    "seed": "a whole number{bounds}",
}


@dataclass(frozen=True)
class Option:
    """One option of a built-in task, model or optimizer.

    Attributes:
        name: Its key in the study file, and of a search space that varies it.
        type: `ints` also takes a single number, which then is a list of one; `seed` is a whole
            number that names a random draw and has no order.
        default: The value when the file says nothing.
        help: One line for documentation and editors.
        choices: The names that `choice` takes.
        low, high: Bounds, included unless `low_open` or `high_open`; for `ints` and `pair` of
            each item.
        nullable: Whether null is a value, of which `help` says what it means.
        length: How many items `ints` must have, `None` for any number.
        optimizers: The optimizers that read it, `None` if it belongs to no optimizer.
    """

    name: str
    type: OptionType
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    nullable: bool = False
    length: int | None = None
    optimizers: tuple[str, ...] | None = None

    def normalise(self, value: Any) -> Any:
        """The value as task builders read it: a list for `ints`, a tuple for `pair`.

        >>> Option("hidden", "ints", [8], "units").normalise(16)
        [16]
        """
        if value is None:
            return None
        if self.type == "ints":
            return list(value) if isinstance(value, list | tuple) else [value]
        if self.type == "pair":
            return tuple(float(item) for item in value)
        return float(value) if self.type == "float" else value

    def problem(self, value: Any) -> str | None:
        """What this option expects, if `value` is not that; None if it is fine.

        >>> momentum = Option("momentum", "float", 0.0, "heavy ball", low=0)
        >>> momentum.problem(-1), momentum.problem(0.9)
        ('a number of at least 0', None)
        """
        return None if self._fits(value) else self.expected()

    def expected(self) -> str:
        """What this option takes, in words."""
        if self.type == "choice":
            text = f"one of {', '.join(self.choices)}"
        else:
            text = _EXPECTED[self.type].format(bounds=self._bounds())
        if self.length is not None:
            text = f"one whole number{self._bounds()}" if self.length == 1 else text
        return f"{text}, or null" if self.nullable else text

    def _fits(self, value: Any) -> bool:
        if value is None:
            return self.nullable
        if self.type == "choice":
            return isinstance(value, str) and value in self.choices
        if self.type == "bool":
            return isinstance(value, bool)
        if self.type == "ints":
            items = value if isinstance(value, list | tuple) else [value]
            right = self.length is None or len(items) == self.length
            return right and all(_is_int(i) and self._inside(i) for i in items)
        if self.type == "pair":
            pair = isinstance(value, list | tuple) and len(value) == 2
            return pair and all(_is_number(i) and self._inside(i) for i in value)
        number = _is_number(value) if self.type == "float" else _is_int(value)
        return number and self._inside(value)

    def _inside(self, value: float) -> bool:
        if self.low is not None and (value < self.low or (self.low_open and value == self.low)):
            return False
        above = self.high is not None and (
            value > self.high or (self.high_open and value == self.high)
        )
        return not above

    def _bounds(self) -> str:
        parts = []
        if self.low is not None:
            parts.append(f"{'above' if self.low_open else 'of at least'} {self.low:g}")
        if self.high is not None:
            parts.append(f"{'below' if self.high_open else 'at most'} {self.high:g}")
        return f" {' and '.join(parts)}" if parts else ""


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))
