"""Convolutions and pooling: rows become groups of channels, or more examples."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)

from lyapopt.dynamics.gradients.rowwise._rows import (
    Function,
    NoRule,
    Operand,
    Rows,
    Rule,
    add_rule,
)


def register() -> None:
    """Add the rules."""
    add_rule(_convolution, F.conv1d, F.conv2d, F.conv3d)
    for dims in (1, 2, 3):
        for name in ("avg_pool", "max_pool", "adaptive_avg_pool"):
            add_rule(_pool(dims), getattr(F, f"{name}{dims}d"))


def _convolution(
    func: Function,
    input: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Rows:
    """A convolution with a weight for every row: one with a group for every row."""
    if not isinstance(weight, Rows) or (bias is not None and not isinstance(bias, Rows)):
        raise NoRule("convolutions with shared weights")
    w = weight.data
    rows, dims = len(w), w.dim() - 3
    if input.dim() != dims + 2:
        raise NoRule("convolutions of one example")
    x = input.data if isinstance(input, Rows) else input.unsqueeze(0).expand(rows, *input.shape)
    b = None if bias is None else bias.data.reshape(-1)
    y = func(
        x.transpose(0, 1).flatten(1, 2),
        w.flatten(0, 1),
        b,
        stride,
        padding,
        dilation,
        groups * rows,
    )
    return Rows(y.unflatten(1, (rows, -1)).transpose(0, 1))


def _pool(dims: int) -> Rule:
    def pool(func: Function, input: Rows, *args: Any, **kwargs: Any) -> Rows:
        """Every example by itself, so that rows are more examples."""
        data = input.data
        if data.dim() != dims + 3 or kwargs.get("return_indices"):
            raise NoRule("pooling with indices or of one example")
        pooled = func(data.flatten(0, 1), *args, **kwargs)
        return Rows(pooled.unflatten(0, data.shape[:2]))

    return pool
