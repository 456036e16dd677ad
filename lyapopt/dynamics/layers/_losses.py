"""Losses whose kernels cannot be differentiated twice, or warn under `vmap`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)
from torch import Tensor


def mse_loss(input: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`F.mse_loss`: its kernel's derivative resizes outputs under `vmap` and warns of it."""
    return _reduced(F.mse_loss, lambda x: x * x, input, target, args, kwargs)


def huber_loss(
    input: Tensor, target: Tensor, *args: Any, delta: float = 1.0, **kwargs: Any
) -> Tensor:
    """`F.huber_loss`: its kernel's gradient has no forward-mode derivative."""

    def of_errors(x: Tensor) -> Tensor:
        size = x.abs()
        return torch.where(size < delta, 0.5 * x * x, delta * (size - 0.5 * delta))

    return _reduced(F.huber_loss, of_errors, input, target, args, {**kwargs, "delta": delta})


def _reduced(
    original: Callable[..., Any],
    of_errors: Callable[[Tensor], Tensor],
    input: Tensor,
    target: Tensor,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Tensor:
    """A sum or mean over errors; unusual arguments stay torch's business."""
    given = {name for name, value in kwargs.items() if value is not None}
    reduction = kwargs.get("reduction", "mean")
    is_usual = not args and given <= {"reduction", "delta"} and reduction in ("mean", "sum")
    if not is_usual:
        result: Tensor = original(input, target, *args, **kwargs)
        return result
    values = of_errors(input - target)
    return values.mean() if reduction == "mean" else values.sum()
