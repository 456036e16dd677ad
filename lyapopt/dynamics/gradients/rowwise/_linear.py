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
    Function,
    NoRule,
    Operand,
    Rows,
    add_operators,
    add_rule,
    aligned,
    call,
    named,
)


def register() -> None:
    """Add the rules."""
    add_rule(_linear, F.linear)
    for name in ("matmul", "bmm", "mm", "mv", "__matmul__", "__rmatmul__"):
        add_rule(_matmul, *named(name, torch, Tensor))
    add_rule(_addmm, torch.addmm, Tensor.addmm, torch.baddbmm)
    add_operators(["__matmul__", "__rmatmul__"])


def _linear(
    func: Function, input: Operand, weight: Operand, bias: Operand | None = None
) -> Operand:
    if not isinstance(weight, Rows):
        return _with_shared_weight(input, weight, bias)
    w = weight.data
    if w.dim() != 3:
        raise NoRule("weights that are no matrices")
    if bias is not None and not isinstance(bias, Rows):
        bias = Rows(bias.expand(len(w), *bias.shape))
    inner = input.shape[:-1]
    x = input.data if isinstance(input, Rows) else input.unsqueeze(0).expand(len(w), *input.shape)
    if len(inner) != 1:  # batch axes are one axis of a matrix
        x = x.reshape(len(w), -1, x.shape[-1])
    b = None if bias is None else bias.data
    if _is_innermost(w):
        y = _innermost_linear(x, w, b)
    else:
        y = torch.bmm(x, w.mT) if b is None else torch.baddbmm(b.unsqueeze(1), x, w.mT)
    return Rows(y if len(inner) == 1 else y.reshape(len(w), *inner, y.shape[-1]))


def _with_shared_weight(input: Operand, weight: Tensor, bias: Operand | None) -> Operand:
    y: Operand = (
        Rows(F.linear(input.data, weight)) if isinstance(input, Rows) else F.linear(input, weight)
    )
    if bias is not None:
        y = call(torch.add, y, bias)
    return y


def _matmul(func: Function, a: Operand, b: Operand) -> Rows:
    if getattr(func, "__name__", "") == "__rmatmul__":
        a, b = b, a
    if a.dim() < 2 or b.dim() < 2:
        raise NoRule("products with vectors")
    return Rows(torch.matmul(*aligned(a, b)))


def _addmm(func: Function, input: Operand, a: Operand, b: Operand, **kwargs: object) -> Rows:
    if kwargs:
        raise NoRule("addmm with factors")
    total: Rows = call(torch.add, _matmul(torch.matmul, a, b), input)
    return total


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
