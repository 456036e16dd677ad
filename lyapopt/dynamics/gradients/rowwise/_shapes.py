"""Views, reductions, and other functions that are given an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)
from torch import Tensor

from lyapopt.dynamics.gradients.rowwise._rows import (
    Function,
    NoRule,
    Operand,
    Rows,
    add_rule,
    named,
    padded,
)

EXTREMA = (torch.max, torch.min, Tensor.max, Tensor.min)
"""Reductions of one argument, and elementwise of two."""

_REDUCTION_NAMES = "sum mean prod amax amin var std logsumexp all any argmax argmin cumsum"


def register() -> None:
    """Add the rules."""
    for name in _REDUCTION_NAMES.split():
        add_rule(reduce, *named(name, torch, Tensor))
    for name in ("softmax", "log_softmax"):
        add_rule(_softmax, *named(name, torch, Tensor, F))
    for name in ("view", "reshape"):
        add_rule(_reshape, *named(name, torch, Tensor))
    add_rule(_view_as, Tensor.view_as, Tensor.reshape_as, Tensor.expand_as)
    add_rule(_expand, Tensor.expand)
    add_rule(_flatten, torch.flatten, Tensor.flatten)
    add_rule(_unflatten, torch.unflatten, Tensor.unflatten)
    add_rule(_permute, torch.permute, Tensor.permute)
    for name in ("transpose", "swapaxes", "movedim"):
        add_rule(_two_axes, *named(name, torch, Tensor))
    add_rule(_squeeze, torch.squeeze, Tensor.squeeze)
    add_rule(_unsqueeze, torch.unsqueeze, Tensor.unsqueeze)
    for name in ("chunk", "split", "unbind"):
        add_rule(_parts, *named(name, torch, Tensor))
    add_rule(_joined, torch.cat, torch.concat)
    add_rule(_stacked, torch.stack)
    add_rule(_indexed, Tensor.__getitem__)


def _axis(dim: int) -> int:
    """An axis of one row as an axis of the stack."""
    if not isinstance(dim, int):
        raise NoRule("axes with names")
    return dim if dim < 0 else dim + 1


def reduce(
    func: Function, input: Rows, dim: Any = None, *args: Any, **kwargs: Any
) -> Rows | tuple[Rows, ...]:
    """Reductions over some axes of a row, or over all of them."""
    if "axis" in kwargs:
        raise NoRule("reductions over axis=")
    data = input.data
    if dim is None:
        if args or kwargs:
            raise NoRule("reductions over everything with unusual arguments")
        flat = data.reshape(len(data), -1)
        return Rows(func(flat, 1)[0] if func in EXTREMA else func(flat, 1))
    axes = _axis(dim) if isinstance(dim, int) else [_axis(d) for d in dim]
    if axes == []:
        raise NoRule("reductions over no axes")
    result = func(data, axes, *args, **kwargs)
    return Rows(result) if isinstance(result, Tensor) else tuple(Rows(part) for part in result)


def _softmax(func: Function, input: Rows, dim: Any = None, *args: Any, **kwargs: Any) -> Rows:
    kwargs.pop("_stacklevel", None)
    if dim is None or args or any(value is not None for value in kwargs.values()):
        raise NoRule("softmax with unusual arguments")
    return Rows(func(input.data, _axis(dim)))


def _sizes(sizes: Sequence[Any]) -> list[int]:
    found = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], Sequence) else list(sizes)
    if not all(isinstance(size, int) for size in found):
        raise NoRule("views as another type")
    return found


def _reshape(func: Function, input: Rows, *shape: Any) -> Rows:
    data = input.data
    # A permuted stack has no view of most shapes; nothing here relies on sharing memory.
    return Rows(data.reshape(len(data), *_sizes(shape)))


def _view_as(func: Function, input: Rows, other: Any) -> Rows:
    if func is Tensor.expand_as:
        return _expand(Tensor.expand, input, *other.shape)
    return _reshape(Tensor.reshape, input, *other.shape)


def _expand(func: Function, input: Rows, *shape: Any) -> Rows:
    sizes = _sizes(shape)
    data = padded(input, len(sizes))
    return Rows(data.expand(len(data), *sizes))


def _flatten(func: Function, input: Rows, start_dim: int = 0, end_dim: int = -1) -> Rows:
    if input.dim() == 0:
        raise NoRule("flatten of a scalar")
    first, last = (axis % input.dim() for axis in (start_dim, end_dim))
    return input if first == last else Rows(input.data.flatten(first + 1, last + 1))


def _unflatten(func: Function, input: Rows, dim: int, sizes: Any) -> Rows:
    data: Any = input.data  # torch gives unflatten no types
    return Rows(data.unflatten(_axis(dim), sizes))


def _permute(func: Function, input: Rows, *dims: Any) -> Rows:
    rank = input.dim()
    return Rows(input.data.permute(0, *(dim % rank + 1 for dim in _sizes(dims))))


def _two_axes(func: Function, input: Rows, first: Any, second: Any) -> Rows:
    return Rows(func(input.data, _axis(first), _axis(second)))


def _squeeze(func: Function, input: Rows, dim: Any = None) -> Rows:
    if isinstance(dim, int):
        return Rows(input.data.squeeze(_axis(dim)))
    if dim is not None:
        raise NoRule("squeeze of several axes")
    return Rows(input.data.reshape(len(input.data), *(size for size in input.shape if size != 1)))


def _unsqueeze(func: Function, input: Rows, dim: int) -> Rows:
    return Rows(input.data.unsqueeze(_axis(dim)))


def _parts(func: Function, input: Rows, *args: Any, dim: int | None = None) -> tuple[Rows, ...]:
    data = input.data
    is_unbind = getattr(func, "__name__", "") == "unbind"
    sizes, rest = ((), args) if is_unbind else (args[:1], args[1:])
    axis = rest[0] if rest else (0 if dim is None else dim)
    return tuple(Rows(part) for part in func(data, *sizes, _axis(axis)))


def _joined(func: Function, tensors: Sequence[Operand], dim: int = 0) -> Rows:
    return Rows(torch.cat(_alike(tensors), _axis(dim)))


def _stacked(func: Function, tensors: Sequence[Operand], dim: int = 0) -> Rows:
    return Rows(torch.stack(_alike(tensors), _axis(dim)))


def _alike(tensors: Sequence[Operand]) -> list[Tensor]:
    """Stacks of all parts; a part that all rows share is repeated."""
    rows = next(len(part.data) for part in tensors if isinstance(part, Rows))
    return [
        part.data if isinstance(part, Rows) else part.unsqueeze(0).expand(rows, *part.shape)
        for part in tensors
    ]


def _indexed(func: Function, input: Rows, index: Any) -> Rows:
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part is Ellipsis or type(part) in (int, slice) for part in parts):
        raise NoRule("indexing by tensors")
    return Rows(input.data[(slice(None), *parts)])
