"""Losses: one number for every row."""

from __future__ import annotations

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
    aligned,
    refuse_extra,
)

_MANY_CLASSES = 64  # from here on a softmax over the last axis in memory is fast by itself


def register() -> None:
    """Add the rules."""
    add_rule(
        _of_errors,
        F.mse_loss,
        F.l1_loss,
        F.smooth_l1_loss,
        F.huber_loss,
        F.soft_margin_loss,
        F.binary_cross_entropy,
        F.binary_cross_entropy_with_logits,
    )
    add_rule(_cross_entropy, F.cross_entropy)
    add_rule(_nll_loss, F.nll_loss)


def _of_errors(
    func: Function,
    input: Operand,
    target: Operand,
    weight: object = None,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
    **kwargs: Any,
) -> Rows:
    refuse_extra(func.__name__, weight, size_average, reduce, kwargs.pop("pos_weight", None))
    a, b = aligned(input, target)
    if a.shape != b.shape:
        a, b = torch.broadcast_tensors(a, b)  # type: ignore[no-untyped-call]  # torch gives it no types
    return _reduced(func(a, b, reduction="none", **kwargs), reduction)


def _reduced(values: Tensor, reduction: str) -> Rows:
    axes = tuple(range(1, values.dim()))
    if reduction == "none" or not axes:
        return Rows(values)
    return Rows(values.mean(axes) if reduction == "mean" else values.sum(axes))


def _cross_entropy(
    func: Function,
    input: Operand,
    target: Operand,
    weight: object = None,
    size_average: object = None,
    ignore_index: int = -100,
    reduce: object = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Rows:
    refuse_extra("cross_entropy", weight, size_average, reduce)
    if (
        target.is_floating_point()
        or label_smoothing
        or not isinstance(input, Rows)
        or input.dim() != 2
    ):
        raise NoRule("cross_entropy of probabilities")
    data = input.data
    if data.shape[-1] >= _MANY_CLASSES:
        return _picked(F.log_softmax(data, -1), target, ignore_index, reduction)
    # torch's softmax over a short axis that is last in memory is slow; over the first it is fast.
    by_class = F.log_softmax(
        data.permute(2, 1, 0) if data.stride(0) == 1 else data.movedim(2, 0), 0
    )
    log_p = by_class.permute(2, 1, 0) if data.stride(0) == 1 else by_class.movedim(0, 2)
    return _picked(log_p, target, ignore_index, reduction)


def _nll_loss(
    func: Function,
    input: Operand,
    target: Operand,
    weight: object = None,
    size_average: object = None,
    ignore_index: int = -100,
    reduce: object = None,
    reduction: str = "mean",
) -> Rows:
    refuse_extra("nll_loss", weight, size_average, reduce)
    if not isinstance(input, Rows) or input.dim() != 2:
        raise NoRule("nll_loss of this shape")
    return _picked(input.data, target, ignore_index, reduction)


def _picked(log_p: Tensor, target: Operand, ignore_index: int, reduction: str) -> Rows:
    """The negative log-probability of the right classes; ignored examples do not count."""
    classes = target.data if isinstance(target, Rows) else target.expand(len(log_p), -1)
    counts = classes != ignore_index
    index = classes if 0 <= ignore_index < log_p.shape[-1] else classes.clamp(min=0)
    values = torch.where(counts, -log_p.gather(2, index.unsqueeze(2)).squeeze(2), 0.0)
    if reduction == "none":
        return Rows(values)
    total = values.sum(1)
    return Rows(total if reduction == "sum" else total / counts.sum(1))
