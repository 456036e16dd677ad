"""Torch's random numbers in a thread: from global generators, or from copies that are its own.

Torch has one global generator a device for all threads. While a thread repeats a pass, another one,
which trains a network of somebody's own (`n_jobs=2`), must not take numbers away from it.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

Generators = Mapping[torch.device, torch.Generator]

turns = threading.RLock()
"""Whoever changes global generators, and puts them back, holds it."""
_thread = threading.local()
_CPU = torch.device("cpu")


def generators() -> list[torch.Generator]:
    """What this thread draws from: of the CPU and, where they are in use, of GPUs."""
    return list(_present().values())


@contextmanager
def own_draws() -> Iterator[None]:
    """Context in which a thread draws what it would draw now if no other thread did.

    The main thread draws from the global generators as ever: others draw beside each other. On a
    GPU dropout has other masks than torch's own kernel, and attention with dropout is left alone.

    Example:
        >>> def draw():
        ...     with own_draws():
        ...         drawn.append(torch.rand(3))
        >>> drawn = []
        >>> for _ in range(2):
        ...     thread = threading.Thread(target=draw)
        ...     thread.start()
        ...     thread.join()
        >>> torch.equal(*drawn), torch.equal(drawn[0], torch.rand(3))
        (True, True)
    """
    is_alone = threading.current_thread() is threading.main_thread()
    if is_alone or getattr(_thread, "generators", None) is not None:
        yield
        return
    own = {device: _copy_of(each, device) for device, each in _present().items()}
    _thread.generators = own
    try:
        with _DrawingFrom(own):
            yield
    finally:
        _thread.generators = None


def _present() -> Generators:
    own: Generators | None = getattr(_thread, "generators", None)
    if own is not None:
        return own
    found = {_CPU: torch.default_generator}
    # To ask more of torch would start GPUs that nobody uses yet.
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch has no types
        every = enumerate(torch.cuda.default_generators)
        found |= {torch.device("cuda", index): each for index, each in every}
    return found


def _copy_of(source: torch.Generator, device: torch.device) -> torch.Generator:
    copied = torch.Generator(device)
    copied.set_state(source.get_state())
    return copied


class _DrawingFrom(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types
    """Gives every operation that draws from a global generator one of these in its place."""

    def __init__(self, own: Generators) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._own = own

    def __torch_dispatch__(
        self,
        func: OpOverload[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the operation."""
        kwargs = kwargs or {}
        drawing = _drawing(func)
        if drawing is None or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        own = self._own.get(_device_of(args, kwargs))
        return func(*args, **kwargs) if own is None else drawing(*args, **kwargs, generator=own)


@functools.cache
def _drawing(func: OpOverload[..., Any]) -> Callable[..., Any] | None:
    """The same operation with an argument `generator`, if it draws."""
    names = _arguments(func)
    if "generator" in names:
        return func
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return None
    if func is torch.ops.aten.native_dropout.default:
        return _dropout
    packet = func.overloadpacket
    others = [getattr(packet, name) for name in packet.overloads()]
    return next((each for each in others if _arguments(each) == names | {"generator"}), None)


def _arguments(func: OpOverload[..., Any]) -> frozenset[str]:
    return frozenset(argument.name for argument in func._schema.arguments)


def _dropout(
    x: Tensor, p: float, train: bool | None, *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What `native_dropout` does, which takes no generator."""
    if train is False:
        return x, torch.ones_like(x, dtype=torch.bool)
    mask = torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - p, generator=generator)
    return x * mask * (0.0 if p == 1 else 1 / (1 - p)), mask


def _device_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.device:
    device: torch.device | None = kwargs.get("device")
    if device is None:
        device = next((each.device for each in args if isinstance(each, Tensor)), _CPU)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
