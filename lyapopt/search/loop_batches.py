"""Batches as loops of the user's own have them: tensors, tuples, mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def call_on(model: nn.Module, x: Any) -> Any:
    """What a model gives of a batch: its parts are arguments, by place or by name."""
    if isinstance(x, Mapping):
        return model(**x)
    return model(*x) if isinstance(x, tuple) else model(x)


def count_examples(batch: Any) -> int:
    """How many examples a batch has: the length of its first tensor.

    Example:
        >>> import torch
        >>> count_examples({"name": "b", "parts": (torch.zeros(8, 3), torch.zeros(8))})
        8
    """
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    parts = batch if isinstance(batch, tuple | list) else ()
    return next((found for part in parts if (found := count_examples(part))), 0)
