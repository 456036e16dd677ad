"""Training inside `torch.inference_mode`, whose tensors can have no gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def leaving_inference_mode(function: Callable[P, T]) -> Callable[P, T]:
    """A function that works inside `torch.inference_mode` as it does outside.

    Tensors that were made there are copied when they are passed on. Outside, and under
    `torch.no_grad`, nothing is added.

    Example:
        >>> @leaving_inference_mode
        ... def slope(x):
        ...     with torch.enable_grad():
        ...         x = x.requires_grad_()
        ...         return torch.autograd.grad(x * x, x)[0]
        >>> with torch.inference_mode():
        ...     slope(torch.tensor(3.0))
        tensor(6.)
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False):
            ordinary: Any = [_ordinary(value) for value in args]
            return function(*ordinary, **kwargs)

    return call


def _ordinary(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value
