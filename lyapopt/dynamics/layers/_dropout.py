"""Dropout with masks that are a function of (seed, step, layer)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Masks(Protocol):
    """Where the masks come from."""

    def mask(self, size: torch.Size, p: float, like: Tensor) -> Tensor:
        """0 with probability `p`, else 1."""
        ...


def dropout(
    masks: Masks, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """`F.dropout`: every number on its own."""
    return _drop(masks, input, input.shape, p, training, inplace)


def dropout1d(
    masks: Masks, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """`F.dropout1d`: whole channels; the batch axis may be absent."""
    return _drop(masks, input, _channels(input, input.dim() == 3), p, training, inplace)


def dropout2d(
    masks: Masks, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """`F.dropout2d`: whole channels; the first axis is the batch always, as torch has it."""
    return _drop(masks, input, _channels(input, True), p, training, inplace)


def dropout3d(
    masks: Masks, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """`F.dropout3d`: whole channels; the batch axis may be absent."""
    return _drop(masks, input, _channels(input, input.dim() == 5), p, training, inplace)


def _channels(input: Tensor, has_batch: bool) -> torch.Size:
    kept = 2 if has_batch else 1
    return torch.Size([*input.shape[:kept], *(1 for _ in input.shape[kept:])])


def _drop(
    masks: Masks, input: Tensor, size: torch.Size, p: float, training: bool, inplace: bool
) -> Tensor:
    if not training or p == 0.0:
        return input
    factor = masks.mask(size, p, input) / (1.0 - p) if p < 1.0 else torch.zeros_like(input)
    return input.mul_(factor) if inplace else input * factor
