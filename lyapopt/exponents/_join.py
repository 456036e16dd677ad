"""Results of several stacks, put together in the order that the systems were given in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from lyapopt.exponents.exponent import Exponent
from lyapopt.exponents.lyapunov_spectrum import Spectrum

Result = TypeVar("Result", Exponent, Spectrum)

_ALONG = {
    "increments": 1,
    "weight_increments": 1,
    "growth": 1,
    "log_separations": 1,
    "losses": 1,
    "alignment": -1,
    "linearity_error": 0,
    "largest_growth": 0,
    "final_state": 0,
    "final_tangents": 0,
}
"""The axis of systems; `alignment` has it last in both kinds of result."""


def join(results: Sequence[Result], order: Sequence[int]) -> Result:
    """One result of all systems, of which row `i` goes to place `order[i]`."""
    rows = sorted(range(len(order)), key=lambda i: order[i])
    first = results[0]
    joined: dict[str, Any] = {}
    for field in dataclasses.fields(first):
        parts = [getattr(result, field.name) for result in results]
        if field.name in _ALONG and parts[0] is not None:
            joined[field.name] = _joined(parts, _ALONG[field.name])
    flags = [flag for result in results for flag in result.flags]
    epochs = {result.steps_per_epoch for result in results}
    joined["flags"] = tuple(flags)
    joined["steps_per_epoch"] = epochs.pop() if len(epochs) == 1 else None
    joined["gradient_evaluations"] = max(result.gradient_evaluations for result in results)
    return dataclasses.replace(first, **joined).select(rows)


def _joined(parts: Sequence[Tensor], axis: int) -> Tensor:
    widths = {part.shape[-1] for part in parts}
    if axis == 0 and parts[0].dim() == 3 and len(widths) > 1:
        parts = [part[..., :0] for part in parts]  # states of different dimensions
    return torch.cat(list(parts), axis)
