"""How torch runs a step: modes that a step leaves or enters, and tensors that are made for later.

A map works inside `torch.inference_mode`, under the transforms of `torch.func` and on a GPU as it
does anywhere else; what each of these needs is here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._functorch import pyfunctorch

P = ParamSpec("P")
T = TypeVar("T")

_SMALL = 2.0**-1060  # a denormal double
# Private, so that it may go: caches then hold dead wrappers, which torch unwraps by itself.
_clear = getattr(pyfunctorch, "temporarily_clear_interpreter_stack", nullcontext)


def leaving_inference_mode(function: Callable[P, T]) -> Callable[P, T]:
    """A function that works inside `torch.inference_mode`, whose tensors can have no gradients.

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


def _ordinary(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Context in which numbers too small for a full mantissa are zero on the CPU.

    Processors are 10 to 100 times slower on them (below 1e-38 in float32), and momenta of a dead
    network decay right through them: one such row would slow down a whole stack. It holds for this
    thread; afterwards all is as before.

    Example:
        >>> tiny = torch.tensor([1e-40])
        >>> with flushed_denormals():
        ...     print((tiny * 0.5).item())
        0.0
        >>> (tiny * 0.5).item() > 0
        True
    """
    # Torch has no getter for its switch, but Python's own arithmetic obeys it, and is quick.
    if _SMALL * 0.5 == 0.0:
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def outside_transforms() -> AbstractContextManager[object]:
    """Context in which tensors are made as if no transform of `torch.func` was running.

    Tensors that are made while `jvp` or `vmap` runs are wrapped for it, whatever they are made
    from. A cache filled then would hold on to the transform after its end.
    """
    context: AbstractContextManager[object] = _clear()
    return context


def to_device(table: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A table of the host on a device; nobody waits for the copy.

    A copy from ordinary memory makes the host wait for all that a GPU still has to do. From pinned
    memory it takes its turn among the kernels.

    Args:
        table: Not changed afterwards.
        device: Where the copy lies.
        dtype: Its dtype; that of the table by default.
    """
    table = table.to(dtype)
    if device.type != "cuda":
        return table.to(device)
    return table.pin_memory().to(device, non_blocking=True)
