"""A model that was written for one precision, run in another: constants follow the weights.

`model.double()` casts parameters and buffers. What a forward pass or a loss makes for itself
(`torch.zeros(...)`, `x.float()`, a tensor in an attribute or a closure) stays as it is written, and
torch then refuses to multiply the two, or computes a part of the model in the lower precision.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
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
_OF_THE_TENSOR_ITSELF = frozenset({Tensor.requires_grad_, Tensor.retain_grad, Tensor.register_hook})
_TENSOR_TYPE = type(torch.FloatTensor)
_NAMES_OF_TYPES = {
    "torch.HalfTensor": torch.float16,
    "torch.BFloat16Tensor": torch.bfloat16,
    "torch.FloatTensor": torch.float32,
}


@dataclass
class _StandIn:
    """A tensor in a narrower precision, and the one that functions are given in its place.

    Attributes:
        narrow: Somebody's own, such as an attribute that was made before.
        wide: What it stands for.
        version: Its count of writes when the two were last equal.
    """

    narrow: Tensor
    wide: Tensor
    version: int


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
        self._given: list[_StandIn] = []
        self._viewed: list[_StandIn] = []
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
        if func in _OF_THE_TENSOR_ITSELF or getattr(func, "__name__", "") in ("__get__", "__set__"):
            return func(*args, **(kwargs or {}))
        if func in _CASTS:
            self.was_needed = True
            return args[0].to(_NARROW[_CASTS[func]])
        if self._drawn_in is not None and func in DRAWING:
            result = drawn(func, args, kwargs or {}, self._drawn_in)
            return result if args and result is args[0] else self._widened(result)
        self._write_back(self._viewed)
        self._given = []  # of this call
        wide = {name: self._widened(value) for name, value in (kwargs or {}).items()}
        result = func(*map(self._widened, args), **wide)
        given, self._given = self._given, []
        return self._returned(result, given) if given else self._widened(result)

    def __exit__(self, *exception: object) -> None:
        """Leave the context; what was written into narrower tensors is in them afterwards."""
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self._write_back(self._viewed)
        self._viewed = []

    def _returned(self, result: Any, given: list[_StandIn]) -> Any:
        """What a function returns that was given stand-ins, and may have written into them."""
        self._write_back(given)
        parts = result if isinstance(result, tuple | list) else (result,)
        bases = {id(part._base) for part in parts if isinstance(part, Tensor)}
        for each in given:
            if result is each.wide:  # an operation in place: the caller goes on with its tensor
                return each.narrow
            if id(each.wide) in bases:  # a view, which may be written into later
                self._viewed.append(each)
        return self._widened(result)

    @staticmethod
    def _write_back(given: list[_StandIn]) -> None:
        for each in given:
            if each.wide._version != each.version:
                each.version = each.wide._version
                each.narrow.copy_(each.wide)

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
        wide = tensor.to(dtype)
        self._given.append(_StandIn(tensor, wide, wide._version))
        return wide


def _dtype_of_type(value: Any) -> torch.dtype | None:
    """The dtype behind the old `torch.FloatTensor` or its name."""
    if isinstance(value, _TENSOR_TYPE):
        return getattr(value, "dtype", None)
    return _NAMES_OF_TYPES.get(value) if isinstance(value, str) else None


def run_in_float64(model: nn.Module) -> None:
    """Let a model run inside `InFloat64` from now on, its hooks included; twice is once."""
    if type(model).__module__ == __name__:
        return
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
