"""Arguments are checked where the error can be explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from lyapopt.checks import Arguments
from lyapopt.dynamics import maps
from lyapopt.dynamics.maps import Map
from lyapopt.errors import RadiusError, UserError

UNRESOLVED = 1e-2  # relative rounding error of a separation that makes an exponent worthless

_CHECK = Arguments("")

Function = TypeVar("Function", bound=Callable[..., Any])


def no_type_check(function: Function) -> Function:
    """Mark a function that explains wrong shapes itself, with a `UserError`.

    Tests check the shapes in all other signatures, and go by this name. `typing.no_type_check`
    would hide the types from mypy too.
    """
    return function


def check_counts(**counts: int) -> tuple[int, ...]:
    """The numbers as plain integers (NumPy has its own), or a `UserError` unless positive."""
    return tuple(_CHECK.whole(name, value, least=1) for name, value in counts.items())


def check_burn_in(burn_in: int) -> int:
    """The number as a plain integer, or a `UserError` unless it is not negative."""
    return _CHECK.whole("burn_in", burn_in, least=0)


@no_type_check
def check_map(step: Map, start: int, observe: object = None) -> None:
    """Raise a `UserError` unless the first is a map, `start` a time and `observe` a function."""
    _CHECK.function("step", step, "a map step(z, t) -> z")
    _CHECK.whole("start", start)
    _CHECK.optional(_CHECK.function, "observe", observe)


@no_type_check
def check_flags(**flags: bool) -> None:
    """Raise a `UserError` unless they are `True` or `False`."""
    for name, value in flags.items():
        _CHECK.flag(name, value)


def check_level(level: float) -> None:
    """Raise a `UserError` unless it lies between 0 and 1."""
    _CHECK.real("level", level, above=0, below=1)


def check_average(average: str) -> None:
    """Raise a `UserError` unless it is one of the two."""
    if average not in ("logs", "paper"):
        raise UserError(f"average must be 'logs' or 'paper' (Eq. 4 as published), not {average!r}")


def check_state(z0: Tensor) -> None:
    """Raise a `UserError` unless `z0` is `(systems, 1, dim)`, float32 or float64."""
    if not isinstance(z0, Tensor):
        raise UserError(f"z0 must be a tensor (systems, 1, dim), not {type(z0).__name__}")
    if z0.dim() != 3 or z0.shape[1] != 1 or 0 in z0.shape:
        raise UserError(f"z0 must have shape (systems, 1, dim), not {tuple(z0.shape)}")
    if z0.dtype not in (torch.float32, torch.float64):
        raise UserError(f"z0 must be float32 or float64, not {z0.dtype}")


def check_step(before: Tensor, after: object) -> None:
    """Raise a `UserError` unless a step gave a state of the same shape and dtype."""
    if not isinstance(after, Tensor):
        raise UserError(f"the map must return a tensor, not {type(after).__name__}")
    if after.shape != before.shape or after.dtype != before.dtype:
        raise UserError(
            f"the map turned a state of shape {tuple(before.shape)} ({before.dtype}) into one of "
            f"{tuple(after.shape)} ({after.dtype}); step(z, t) must keep both"
        )


@no_type_check
def check_radius(
    step: Map, z0: Float[Tensor, "systems 1 dim"], radius: float, what: str = "radius"
) -> None:
    """Raise a `RadiusError` unless the dtype can resolve the radius beside the weights."""
    radius = Arguments("", RadiusError).real(what, radius, above=0)
    limits = torch.finfo(z0.dtype)
    norms = torch.linalg.vector_norm(maps.weights(step, z0.detach()), dim=-1)
    resolvable = (limits.eps * norms / UNRESOLVED).clamp(min=limits.tiny**0.5 / limits.eps)
    smallest = float(resolvable.nan_to_num(torch.inf, torch.inf).min())
    if radius < smallest < float("inf"):  # a state that is not finite is flagged later
        dtype = str(z0.dtype).removeprefix("torch.")
        raise RadiusError(
            f"{what} {radius:g} cannot be resolved in {dtype} beside weights of norm "
            f"{float(norms.min()):.3g}; use float64, or from_tangents, which has no radius (a "
            "radius that it can resolve is too large to be linear)"
        )
