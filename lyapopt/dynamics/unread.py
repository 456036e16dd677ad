"""Whether numbers that modules keep have an effect, such as a counter that nothing reads."""

from __future__ import annotations

import contextlib
import io
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (bool, int, float, str)


def are_unread(
    model: nn.Module, attributes: Iterable[tuple[str, str]], run: Callable[[], object]
) -> bool:
    """Whether a run does the same whatever these attributes of modules are.

    In their place it finds objects that can be added to and multiplied, as by `self.calls += 1`,
    and nothing else: they are compared with nothing, printed nowhere, and no tensor takes them.

    Args:
        model: It is left with such objects.
        attributes: By names of module and attribute.
        run: A pass of the model.

    Example:
        >>> class Counting(nn.Module):
        ...     calls = 0
        ...     def forward(self, x):
        ...         self.calls += 1
        ...         return x if self.calls < limit else 2 * x
        >>> limit, model = 10, Counting()
        >>> model(1), are_unread(model, [("", "calls")], lambda: model(1))
        (1, False)
    """
    parts, reads = dict(model.named_modules()), list[str]()
    for name, attribute in attributes:
        own = parts[name].__dict__
        own[attribute] = _Unread(own[attribute], reads)
    try:
        run()
    except Exception:
        return False
    return not reads


_LATER = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 998, 999, 10_000)
_IN_MANY_CYCLES = 20 * math.lcm(*range(1, 31))
"""Divisible by every number up to thirty, by 50, 100, 500 and 1000."""


def have_no_effect(
    model: nn.Module, values: Mapping[tuple[str, str], object], loss_of: Callable[[], Tensor]
) -> bool:
    """Whether a loss is the same whatever the numbers are that modules keep and look at.

    A counter that is printed every hundred passes, or put into a tensor that is logged, is read and
    changes nothing. So losses are compared at many values: later ones, and such as are divisible by
    many numbers, or follow one that is.

    Args:
        model: It is left with other values.
        values: Numbers, switches and strings, by names of module and attribute.
        loss_of: A pass of the model, always from the same weights and random numbers.

    Example:
        >>> class Counting(nn.Module):
        ...     calls = 0
        ...     def forward(self, x):
        ...         self.calls += 1
        ...         return x if self.calls % every else 0 * x
        >>> one, model = torch.ones(1), Counting()
        >>> def found():
        ...     return have_no_effect(model, {("", "calls"): 1}, lambda: model(one))
        >>> every = 1000
        >>> found()
        False
        >>> every = 10**9 + 7
        >>> found()
        True
    """
    parts = dict(model.named_modules())
    counts = [*(lambda n, k=k: n + k for k in _LATER), *_CYCLES]
    losses = []
    for later in counts:
        for (name, attribute), value in values.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            parts[name].__dict__[attribute] = later(value) if is_number else value
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                losses.append(loss_of().detach())
        except Exception:
            return False
    margin = torch.finfo(losses[0].dtype).eps ** 0.75
    return all(
        torch.allclose(losses[0], loss, rtol=margin, atol=0, equal_nan=True) for loss in losses
    )


_CYCLES: tuple[Callable[[Any], Any], ...] = (
    lambda n: type(n)(_IN_MANY_CYCLES - 1),
    lambda n: type(n)(_IN_MANY_CYCLES),
)


class _Unread:
    """A number or string that can be computed with but not looked at."""

    def __init__(self, value: Any, reads: list[str]) -> None:
        self._value, self._reads = value, reads

    # What asks for its type learns that of the value.
    __class__ = property(lambda self: type(self._value))


def _computing(function: Callable[..., Any], is_swapped: bool) -> Callable[[Any, Any], Any]:
    def compute(self: _Unread, other: Any) -> Any:
        if type(other) is _Unread:
            other = other._value
        elif type(other) not in _PLAIN:
            self._reads.append("with a tensor")
            return NotImplemented
        pair = (other, self._value) if is_swapped else (self._value, other)
        try:
            return _Unread(function(*pair), self._reads)
        except ArithmeticError as error:  # which somebody may catch
            self._reads.append(str(error))
            raise

    return compute


def _reading(name: str) -> Callable[..., Any]:
    def read(self: _Unread, *_: Any) -> Any:
        self._reads.append(name)
        raise TypeError(f"{name} of a number that should have no effect")

    return read


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    _function = getattr(operator, _name)
    setattr(_Unread, f"__{_name}__", _computing(_function, False))
    setattr(_Unread, f"__r{_name}__", _computing(_function, True))
for _name in (
    *("bool", "int", "float", "index", "complex", "str", "repr", "format", "hash", "getattr"),
    *("eq", "ne", "lt", "le", "gt", "ge", "len", "iter", "getitem", "contains", "round", "neg"),
    *("abs", "trunc", "floor", "ceil", "reduce_ex"),
):
    setattr(_Unread, f"__{_name}__", _reading(_name))
