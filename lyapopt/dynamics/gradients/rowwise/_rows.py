"""`Rows`: what a model sees as one tensor, while it is a stack of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

Function = Callable[..., Any]
"""A function of torch, as it is found in `torch`, `torch.nn.functional` or `Tensor`."""

Rule = Callable[..., Any]
"""From a function of torch and its arguments, some of them `Rows`, to its result."""

_RULES: dict[Function, Rule] = {}


class NoRule(Exception):  # noqa: N818 (no mistake of anyone's: the call goes another way)
    """A call that has no stacked form here."""


class Rows:
    """A stack of tensors of one shape that answers calls as if it were one of them.

    Not an instance of `Tensor`, nor pretending to be: torch's own code would take it for one.

    Args:
        data: The stack, `(rows, *shape)`; rows need not be outermost in memory.

    Example:
        >>> x = Rows(torch.ones(5, 2, 3))
        >>> x.shape, (x + torch.arange(3.0)).sum(-1).data.shape
        (torch.Size([2, 3]), torch.Size([5, 2]))
    """

    __slots__ = ("data",)

    def __init__(self, data: Tensor) -> None:
        self.data = data

    @classmethod
    def __torch_function__(
        cls,
        func: Function,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer a function of torch that was given `Rows`."""
        return call(func, *args, **(kwargs or {}))

    @property
    def shape(self) -> torch.Size:
        """The shape of one row."""
        return self.data.shape[1:]

    @property
    def ndim(self) -> int:
        """How many axes a row has."""
        return self.data.dim() - 1

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of all rows."""
        return self.data.dtype

    @property
    def device(self) -> torch.device:
        """The device of all rows."""
        return self.data.device

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient will be taken."""
        return self.data.requires_grad

    def dim(self) -> int:
        """How many axes a row has."""
        return self.ndim

    def numel(self) -> int:
        """How many numbers a row has."""
        return self.shape.numel()

    def size(self, dim: int | None = None) -> Any:
        """The shape of one row, or the length of one of its axes."""
        return self.shape if dim is None else self.shape[dim]

    def is_floating_point(self) -> bool:
        """Whether the numbers are real."""
        return self.data.is_floating_point()

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Rows]:
        return iter(cast(Sequence[Rows], call(torch.unbind, self)))

    def __bool__(self) -> bool:
        raise NoRule("control flow that depends on data")

    __float__ = __int__ = __index__ = __bool__

    def __getattr__(self, name: str) -> Any:
        function = getattr(Tensor, name, None)
        if function in _RULES:
            return partial(call, function, self)
        if name in ("T", "mT") and self.ndim >= 2:
            return call(torch.transpose, self, -1, -2)
        raise NoRule(f"Tensor.{name}")

    def __getitem__(self, index: Any) -> Any:
        return call(Tensor.__getitem__, self, index)


Operand = Rows | Tensor
"""A stack, or a tensor that all rows share."""


def call(func: Function, *args: Any, **kwargs: Any) -> Any:
    """Run the rule of a function.

    Raises:
        NoRule: If there is none.
    """
    rule = _RULES.get(func)
    if rule is None:
        raise NoRule(getattr(func, "__name__", str(func)))
    return rule(func, *args, **kwargs)


def add_rule(rule: Rule, *functions: Function) -> None:
    """Let `rule(func, *args, **kwargs)` answer for functions."""
    for function in functions:
        _RULES[function] = rule


def add_operators(names: Sequence[str]) -> None:
    """Give `Rows` some operators of `Tensor`, which Python looks for in the class only."""
    for name in names:
        if hasattr(Tensor, name):
            setattr(Rows, name, _operator(getattr(Tensor, name)))


def _operator(function: Function) -> Callable[..., Any]:
    def apply(self: Rows, *others: Any) -> Any:
        return call(function, self, *others)

    return apply


def named(name: str, *owners: object) -> list[Function]:
    """All functions of torch that go by a name."""
    return [getattr(owner, name) for owner in owners if hasattr(owner, name)]


def refuse_extra(what: str, *values: object) -> None:
    """Arguments that no rule looks at must be left at their defaults."""
    if any(value is not None for value in values):
        raise NoRule(f"{what} with unusual arguments")


def aligned(*values: Any) -> list[Any]:
    """Stacks with axes of length 1 put in, so that rows meet rows."""
    rank = max(value.dim() for value in values if isinstance(value, Operand))
    return [padded(value, rank) if isinstance(value, Rows) else value for value in values]


def padded(rows: Rows, rank: int) -> Tensor:
    """A stack whose rows have at least `rank` axes, those that are missing put in front."""
    data: Tensor = rows.data
    missing = rank - (data.dim() - 1)
    return data[(slice(None), *(None,) * missing)] if missing > 0 else data
