"""Products with stacked weights.

Two layouts: rows outermost in memory, where a product is a batched matrix product, and rows
innermost, where it is a sum of a few elementwise products. A matrix product of a few numbers is
mostly overhead, so that tiny layers run several times faster the second way.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)
from torch import Tensor

from lyapopt.dynamics.rowwise._elementwise import aligned
from lyapopt.dynamics.rowwise._innermost import innermost_linear, is_innermost
from lyapopt.dynamics.rowwise._rows import NoRule, Rows, add_rule, call, is_rows, named


def register() -> None:
    """Add the rules."""
    add_rule(_linear, F.linear)
    for name in ("matmul", "bmm", "mm", "mv", "__matmul__", "__rmatmul__"):
        add_rule(_matmul, *named(name, torch, Tensor))
    add_rule(_addmm, torch.addmm, Tensor.addmm, torch.baddbmm)
    for name in ("__matmul__", "__rmatmul__"):
        setattr(Rows, name, _operator(getattr(Tensor, name)))


def _linear(func: Any, input: Any, weight: Any, bias: Any = None) -> Any:
    if not is_rows(weight):
        return _with_shared_weight(input, weight, bias)
    w: Tensor = weight.data
    if w.dim() != 3:
        raise NoRule("weights that are no matrices")
    if bias is not None and not is_rows(bias):
        bias = Rows(bias.expand(len(w), *bias.shape))
    x = input.data if is_rows(input) else input
    inner = x.shape[1:-1] if is_rows(input) else x.shape[:-1]
    if len(inner) != 1:  # batch axes are one axis of a matrix
        x = x.reshape(*x.shape[: is_rows(input)], -1, x.shape[-1])
    if not is_rows(input):
        x = x.unsqueeze(0).expand(len(w), *x.shape)
    b = None if bias is None else bias.data
    if is_innermost(w):
        y = innermost_linear(x, w, b)
    else:
        y = torch.bmm(x, w.mT) if b is None else torch.baddbmm(b.unsqueeze(1), x, w.mT)
    return Rows(y if len(inner) == 1 else y.reshape(len(w), *inner, y.shape[-1]))


def _with_shared_weight(input: Any, weight: Tensor, bias: Any) -> Any:
    y = F.linear(input.data if is_rows(input) else input, weight)
    wrapped = Rows(y) if is_rows(input) else y
    return wrapped if bias is None else call(torch.add, wrapped, bias)


def _matmul(func: Any, a: Any, b: Any) -> Any:
    if getattr(func, "__name__", "") == "__rmatmul__":
        a, b = b, a
    if a.dim() < 2 or b.dim() < 2:
        raise NoRule("products with vectors")
    return Rows(torch.matmul(*aligned(a, b)))


def _addmm(func: Any, input: Any, a: Any, b: Any, **kwargs: Any) -> Any:
    if kwargs:
        raise NoRule("addmm with factors")
    return call(torch.add, _matmul(torch.matmul, a, b), input)


def _operator(function: Any) -> Any:
    def apply(self: Any, other: Any) -> Any:
        return _matmul(function, self, other)

    return apply
