"""Batches as loops of the user's own have them: tensors, tuples, mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def call_on(model: nn.Module, x: Any) -> Any:
    """What a model gives of a batch: its parts are arguments, by place or by name."""
    if isinstance(x, Mapping):
        return model(**x)
    return model(*x) if isinstance(x, tuple) else model(x)


def copied_batch(value: Any, in_float64: bool = False) -> Any:
    """A copy of a batch, also of tensors inside tuples, lists and mappings.

    What a pass writes into its batch reaches no other pass, and not the user's.

    Args:
        value: The batch.
        in_float64: Whether real numbers are float64 in the copy, and complex ones complex128.

    Example:
        >>> copied_batch({"x": torch.ones(1), "ids": [torch.ones(1, dtype=torch.int64)]}, True)
        {'x': tensor([1.], dtype=torch.float64), 'ids': [tensor([1])]}
    """
    if isinstance(value, Tensor):
        dtype = value.dtype
        if in_float64 and (value.is_complex() or value.is_floating_point()):
            dtype = torch.complex128 if value.is_complex() else torch.float64
        return value.detach().to(dtype, copy=True).requires_grad_(value.requires_grad)
    if isinstance(value, Mapping):
        return {name: copied_batch(part, in_float64) for name, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [copied_batch(part, in_float64) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def count_examples(batch: Any) -> int:
    """How many examples a batch has: the length of its first tensor.

    Example:
        >>> count_examples({"name": "b", "parts": (torch.zeros(8, 3), torch.zeros(8))})
        8
    """
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    parts = batch if isinstance(batch, tuple | list) else ()
    return next((found for part in parts if (found := count_examples(part))), 0)
