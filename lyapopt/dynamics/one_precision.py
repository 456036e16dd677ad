"""A model that was written for one precision, run in another: constants follow the weights.

`model.double()` casts parameters and buffers. What a forward pass or a loss makes for itself
(`torch.zeros(...)`, `x.float()`, a tensor in an attribute or a closure) stays as it is written, and
torch then refuses to multiply the two, or computes a part of the model in the lower precision.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lyapopt.dynamics.draws import DRAWING, drawn

_NARROW = {
    **dict.fromkeys((torch.float16, torch.bfloat16, torch.float32), torch.float64),
    **dict.fromkeys((torch.complex32, torch.complex64), torch.complex128),
}
"""What each narrower dtype becomes."""
_CASTS: dict[Any, torch.dtype] = {
    Tensor.half: torch.float16,
    Tensor.bfloat16: torch.bfloat16,
    Tensor.float: torch.float32,
    Tensor.cfloat: torch.complex64,  # type: ignore[attr-defined]  # torch gives it no types
}
_TENSOR_TYPE = type(torch.FloatTensor)
_NAMES_OF_TYPES = {
    "torch.HalfTensor": torch.float16,
    "torch.BFloat16Tensor": torch.bfloat16,
    "torch.FloatTensor": torch.float32,
}


class InFloat64(TorchFunctionMode):
    """While it is active in a thread, all real numbers that torch makes or is given are float64.

    Torch's default dtype, which all threads share, is left alone.

    Args:
        drawn_in: Precision in which random numbers are drawn before they are widened; by default
            that of the call.

    Attributes:
        was_needed: Whether anything had to be converted.
        has_rounded: Whether a result that depends on trained weights came in a narrower precision:
            then a part of the model runs where this context does not reach.

    Example:
        >>> x = torch.ones(2, dtype=torch.float64)
        >>> with InFloat64():
        ...     y = x.float() * torch.full((2,), 0.5)
        >>> y.dtype
        torch.float64
    """

    def __init__(self, drawn_in: torch.dtype | None = None) -> None:
        super().__init__()
        self._drawn_in = drawn_in
        self.was_needed = False
        self.has_rounded = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function with wider arguments, and widen what it returns."""
        if getattr(func, "__name__", "") == "__get__":  # an attribute of a tensor
            return func(*args, **(kwargs or {}))
        if func in _CASTS:
            self.was_needed = True
            return args[0].to(_NARROW[_CASTS[func]])
        wide = {name: self._widened(value) for name, value in (kwargs or {}).items()}
        if self._drawn_in is not None and func in DRAWING:
            return self._widened(drawn(func, args, kwargs or {}, self._drawn_in))
        return self._widened(func(*map(self._widened, args), **wide))

    def _widened(self, value: Any) -> Any:
        if type(value) in (list, tuple):
            return type(value)(map(self._widened, value))
        if isinstance(value, Tensor):
            return self._widened_tensor(value)
        dtype = value if isinstance(value, torch.dtype) else _dtype_of_type(value)
        if dtype not in _NARROW:
            return value
        self.was_needed = True
        return _NARROW[dtype]

    def _widened_tensor(self, tensor: Tensor) -> Tensor:
        dtype = _NARROW.get(tensor.dtype)
        if dtype is None or tensor.is_sparse or tensor.is_quantized:
            return tensor
        # A number beside tensors takes their dtype anyhow.
        self.was_needed |= tensor.dim() > 0
        self.has_rounded |= tensor.requires_grad and not tensor.is_leaf
        return tensor.to(dtype)


def _dtype_of_type(value: Any) -> torch.dtype | None:
    """The dtype behind the old `torch.FloatTensor` or its name."""
    if isinstance(value, _TENSOR_TYPE):
        return getattr(value, "dtype", None)
    return _NAMES_OF_TYPES.get(value) if isinstance(value, str) else None


def run_in_float64(model: nn.Module) -> None:
    """Let a model run inside `InFloat64` from now on, its hooks included."""
    model.__class__ = _subclass(type(model))  # type: ignore[arg-type]  # a class has a hash


@functools.cache  # models of one class stay of one class
def _subclass(of: type[nn.Module]) -> type[nn.Module]:
    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with InFloat64():
            return of.__call__(self, *args, **kwargs)

    # Its own name for the class, so that messages show what the user knows.
    return type(of.__name__, (of,), {"__call__": call, "__module__": __name__})


class LossInFloat64:
    """A loss that runs inside `InFloat64`.

    Args:
        loss_fn: The loss.
    """

    def __init__(self, loss_fn: Callable[..., Any]) -> None:
        self.loss_fn = loss_fn

    def __call__(self, *args: Any) -> Any:
        """The loss of outputs and target."""
        with InFloat64():
            return self.loss_fn(*args)
