"""Arguments of public functions are checked where they come in, and the error says what to give.

Nothing is imported that takes time: settings and study files are checked by this as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, TypeVar

from lyapopt.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Arguments:
    """The checks of one function's or class's arguments.

    Args:
        where: Name of the function or class, which every message begins with; "" for none.
        error: What is raised.

    Example:
        >>> Arguments("watch").whole("horizon", 0, least=1)
        Traceback (most recent call last):
        lyapopt.errors.UserError: watch: horizon must be a positive integer, not 0
    """

    where: str
    error: type[UserError] = UserError

    def whole(self, name: str, value: object, least: int | None = None) -> int:
        """The value as a plain integer (NumPy has its own), if it is one of at least `least`."""
        is_whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not is_whole or (least is not None and value < least):  # type: ignore[operator]  # an Integral
            named = {None: "an integer", 0: "a non-negative integer", 1: "a positive integer"}
            self.refuse(name, value, named.get(least, f"an integer of at least {least}"))
        return int(value)  # type: ignore[call-overload, no-any-return]  # an Integral

    def real(
        self,
        name: str,
        value: object,
        *,
        above: float = -math.inf,
        below: float = math.inf,
        least: float = -math.inf,
    ) -> float:
        """The value as a plain number, if it is finite and within the limits."""
        is_real = isinstance(value, Real) and not isinstance(value, bool)
        try:
            number = float(value) if is_real else math.nan  # type: ignore[arg-type]  # a Real
        except OverflowError:  # an integer beyond all floats
            number = math.inf
        if not (above < number < below and number >= least):
            self.refuse(name, value, _interval(above, below, least))
        return number

    def choice(self, name: str, value: object, choices: Collection[str]) -> None:
        """Refuse what is none of these texts."""
        if not (isinstance(value, str) and value in choices):
            *most, last = map(repr, choices)
            self.refuse(name, value, f"{', '.join(most)} or {last}" if most else last)

    def function(self, name: str, value: object, example: str = "a function") -> None:
        """Refuse what cannot be called."""
        if not callable(value):
            self.refuse(name, value, example)

    def flag(self, name: str, value: object) -> None:
        """Refuse what is neither `True` nor `False`: a text such as "no" would count as true."""
        if not isinstance(value, bool):
            self.refuse(name, value, "True or False")

    def instance(
        self, name: str, value: object, types: type | tuple[type, ...], expected: str
    ) -> None:
        """Refuse what is of none of these types."""
        if not isinstance(value, types):
            self.refuse(name, value, expected)

    def optional(
        self, check: Callable[..., T], name: str, value: object, **limits: Any
    ) -> T | None:
        """One of the other checks, which `None` passes."""
        return None if value is None else check(name, value, **limits)

    def refuse(self, name: str, value: object, expected: str) -> None:
        """Say what was expected, and what was given.

        Raises:
            UserError: Or what `error` says.
        """
        prefix = f"{self.where}: " if self.where else ""
        raise self.error(f"{prefix}{name} must be {expected}, not {shown(value)}")


def shown(value: object) -> str:
    """A wrong value as a message shows it: plain ones as they are, others by their type.

    Example:
        >>> shown("x"), shown([1, 2]), shown(shown)
        ("'x'", '[1, 2]', 'function')
    """
    if value is None or isinstance(value, str | bytes | Real | list | tuple | dict | set):
        try:
            text = repr(value)
        except Exception:  # of an object of the user's inside it
            return type(value).__name__
        return text if len(text) <= 80 else f"{text[:77]}..."
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _interval(above: float, below: float, least: float) -> str:
    """What numbers these limits allow, in words."""
    if math.isfinite(above) and math.isfinite(below):
        return f"a number between {above:g} and {below:g}"
    if above == 0:
        return "a positive and finite number"
    if math.isfinite(above):
        return f"a finite number above {above:g}"
    if math.isfinite(least):
        return f"a finite number of at least {least:g}"
    return "a finite number"
