"""Products with stacked weights.

Two layouts: rows outermost in memory, where a product is a batched matrix product, and rows
innermost, where it is `y[o] = b[o] + sum_i w[o, i] x[i]`, each term one elementwise product over
(batch, rows): as many passes as there are inputs, but no call for every row. A matrix product of a
few numbers is mostly overhead, so that tiny layers run several times faster the second way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)
from torch import Tensor
from torch.autograd.function import once_differentiable

from lyapopt.dynamics.gradients.rowwise._rows import (
    NoRule,
    Rows,
    add_rule,
    aligned,
    call,
    is_rows,
    named,
)


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
    if _is_innermost(w):
        y = _innermost_linear(x, w, b)
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


def _is_innermost(stack: Tensor) -> bool:
    """Whether the rows of a stack lie next to each other in memory."""
    return stack.stride(0) == 1 and len(stack) > 1 and stack.numel() > len(stack)


def _innermost_linear(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """`x w^T + b` for `(rows, batch, in)`, `(rows, out, in)` and `(rows, out)`."""
    y: Tensor = _InnermostLinear.apply(x, w, b)  # type: ignore[no-untyped-call]  # torch gives it no types
    return y


class _InnermostLinear(torch.autograd.Function):
    """Works on `x (in, batch, rows)`, `w (out, in, rows)` and `b (out, rows)`.

    Permuting is done inside, where autograd does not look.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        x, w = x.permute(2, 1, 0).contiguous(), w.permute(1, 2, 0)
        ctx.save_for_backward(x, w)
        ctx.has_bias = b is not None
        bias = None if b is None else b.t().unsqueeze(1)
        return _sum_of_products(bias, w.unbind(1), x.unbind(0)).permute(2, 1, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, w = ctx.saved_tensors
        g = g.permute(2, 1, 0).contiguous()
        g_x = g_w = g_b = None
        if ctx.needs_input_grad[0]:
            g_x = _sum_of_products(None, w.unbind(0), g.unbind(0)).permute(2, 1, 0)
        if ctx.needs_input_grad[1]:
            g_w = _sums_over_batch(g, x).permute(2, 0, 1)
        if ctx.has_bias:
            g_b = g.sum(1).t()
        return g_x, g_w, g_b


def _sum_of_products(start: Tensor | None, w: Sequence[Tensor], x: Sequence[Tensor]) -> Tensor:
    """`start + sum_i w_i x_i` with `w_i (out, rows)`, `x_i (batch, rows)`: `(out, batch, rows)`."""
    first = w[0].unsqueeze(1), x[0]
    y = torch.mul(*first) if start is None else torch.addcmul(start, *first)
    for w_i, x_i in zip(w[1:], x[1:], strict=True):
        y.addcmul_(w_i.unsqueeze(1), x_i)
    return y


def _sums_over_batch(g: Tensor, x: Tensor) -> Tensor:
    """`sum_b g[o, b] x[i, b]` for `g (out, batch, rows)`, `x (in, batch, rows)`."""
    products = torch.empty_like(g)  # one memory for all, so that it stays in the cache
    sums = g.new_empty(len(x), len(g), g.shape[-1])
    for x_i, sum_i in zip(x.unbind(0), sums.unbind(0), strict=True):
        torch.mul(g, x_i, out=products)
        torch.sum(products, 1, out=sum_i)
    return sums.transpose(0, 1)
