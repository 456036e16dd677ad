"""Views, reductions, and what else is told where an axis is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)
from torch import Tensor

from lyapopt.dynamics.gradients.rowwise._rows import (
    NoRule,
    Rows,
    add_rule,
    is_rows,
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


def _axis(input: Any, dim: int, extra: int = 0) -> int:
    """An axis of one row as an axis of the stack."""
    if not isinstance(dim, int):
        raise NoRule("axes with names")
    return dim if dim < 0 else dim + 1


def reduce(func: Any, input: Any, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Reductions over some axes of a row, or over all of them."""
    if "axis" in kwargs:
        raise NoRule("reductions over axis=")
    data: Tensor = input.data
    if dim is None:
        if args or kwargs:
            raise NoRule("reductions over everything with unusual arguments")
        flat = data.reshape(len(data), -1)
        return Rows(func(flat, 1) if func not in EXTREMA else _first(func(flat, 1)))
    axes = _axis(input, dim) if isinstance(dim, int) else [_axis(input, d) for d in dim]
    if axes == []:
        raise NoRule("reductions over no axes")
    result = func(data, axes, *args, **kwargs)
    return Rows(result) if isinstance(result, Tensor) else tuple(Rows(part) for part in result)


def _first(result: Any) -> Tensor:
    values: Tensor = result[0]
    return values


def _softmax(func: Any, input: Any, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
    kwargs.pop("_stacklevel", None)
    if dim is None or args or any(value is not None for value in kwargs.values()):
        raise NoRule("softmax with unusual arguments")
    return Rows(func(input.data, _axis(input, dim)))


def _sizes(sizes: Sequence[Any]) -> list[int]:
    found = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], Sequence) else list(sizes)
    if not all(isinstance(size, int) for size in found):
        raise NoRule("views as another type")
    return found


def _reshape(func: Any, input: Any, *shape: Any) -> Any:
    data: Tensor = input.data
    # A permuted stack has no view of most shapes; nothing here relies on sharing memory.
    return Rows(data.reshape(len(data), *_sizes(shape)))


def _view_as(func: Any, input: Any, other: Any) -> Any:
    if func is Tensor.expand_as:
        return _expand(Tensor.expand, input, *other.shape)
    return _reshape(Tensor.reshape, input, *other.shape)


def _expand(func: Any, input: Any, *shape: Any) -> Any:
    sizes = _sizes(shape)
    data = padded(input, len(sizes))
    return Rows(data.expand(len(data), *sizes))


def _flatten(func: Any, input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    if input.dim() == 0:
        raise NoRule("flatten of a scalar")
    first, last = (axis % input.dim() for axis in (start_dim, end_dim))
    return input if first == last else Rows(input.data.flatten(first + 1, last + 1))


def _unflatten(func: Any, input: Any, dim: int, sizes: Any) -> Any:
    return Rows(input.data.unflatten(_axis(input, dim), sizes))


def _permute(func: Any, input: Any, *dims: Any) -> Any:
    rank = input.dim()
    return Rows(input.data.permute(0, *(dim % rank + 1 for dim in _sizes(dims))))


def _two_axes(func: Any, input: Any, first: Any, second: Any) -> Any:
    return Rows(func(input.data, _axis(input, first), _axis(input, second)))


def _squeeze(func: Any, input: Any, dim: Any = None) -> Any:
    if isinstance(dim, int):
        return Rows(input.data.squeeze(_axis(input, dim)))
    if dim is not None:
        raise NoRule("squeeze of several axes")
    return Rows(input.data.reshape(len(input.data), *(size for size in input.shape if size != 1)))


def _unsqueeze(func: Any, input: Any, dim: int) -> Any:
    return Rows(input.data.unsqueeze(_axis(input, dim)))


def _parts(func: Any, input: Any, *args: Any, dim: int | None = None) -> Any:
    data: Tensor = input.data
    is_unbind = getattr(func, "__name__", "") == "unbind"
    sizes, rest = ((), args) if is_unbind else (args[:1], args[1:])
    axis = rest[0] if rest else (0 if dim is None else dim)
    return tuple(Rows(part) for part in func(data, *sizes, _axis(input, axis)))


def _joined(func: Any, tensors: Any, dim: int = 0) -> Any:
    return Rows(torch.cat(_alike(tensors), _axis(None, dim)))


def _stacked(func: Any, tensors: Any, dim: int = 0) -> Any:
    return Rows(torch.stack(_alike(tensors), _axis(None, dim)))


def _alike(tensors: Sequence[Any]) -> list[Tensor]:
    """Stacks of all parts; a part that all rows share is repeated."""
    rows = next(len(part.data) for part in tensors if is_rows(part))
    return [
        part.data if is_rows(part) else part.unsqueeze(0).expand(rows, *part.shape)
        for part in tensors
    ]


def _indexed(func: Any, input: Any, index: Any) -> Any:
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part is Ellipsis or type(part) in (int, slice) for part in parts):
        raise NoRule("indexing by tensors")
    return Rows(input.data[(slice(None), *parts)])
