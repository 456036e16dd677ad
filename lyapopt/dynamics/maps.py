"""What a map is: `step(z, t) -> z`, and the defaults for all that a map may leave out.

Everything that lyapopt measures is a map on states of shape `(systems, trajectories, dim)`: the
logistic map, a Runge-Kutta step of Lorenz, one step of training a network. Estimators ask this
module for the optional parts, so that plain functions are maps too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

State = Float[Tensor, "systems trajectories dim"]
"""The states of all trajectories of all systems."""

Losses = Float[Tensor, "systems trajectories"]
"""The loss of every trajectory."""


@runtime_checkable
class Map(Protocol):
    """One step: a state and the time to the next state. A plain function is one."""

    def __call__(self, z: State, t: int, /) -> State:
        """The state at time `t + 1` from the state at time `t`."""
        ...


@runtime_checkable
class MapWithLosses(Map, Protocol):
    """A map that knows the loss of every trajectory without a second forward pass."""

    def step_with_losses(self, z: State, t: int) -> tuple[State, Losses]:
        """The next state, and the losses at `z`."""
        ...


def step_with_losses(step: Map, z: State, t: int) -> tuple[Tensor, Tensor | None]:
    """One step, with the losses at `z` if the map has any.

    A user's map may return any shape: whoever asks for the step explains a wrong one.
    """
    # Not isinstance: with a protocol that takes as long as a tenth of a small step.
    if hasattr(step, "step_with_losses"):
        return cast(MapWithLosses, step).step_with_losses(z, t)
    return step(z, t), None


def returns_new_states(step: Map) -> bool:
    """Whether a state that the map returned belongs to the caller, who may write into it."""
    return bool(getattr(step, "returns_new_states", False))


def weights(step: Map, z: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows weights"]:
    """The block of the state that separations are measured in: all of it, unless the map says."""
    block: Callable[[Tensor], Tensor] | None = getattr(step, "weights", None)
    return z if block is None else block(z)


def difference(
    step: Map, a: Float[Tensor, "*#rows dim"], b: Float[Tensor, "*#rows dim"]
) -> Float[Tensor, "*#rows dim"]:
    """`a - b` in the geometry of the map (on a torus: the short way round)."""
    own: Callable[[Tensor, Tensor], Tensor] | None = getattr(step, "difference", None)
    return a - b if own is None else own(a, b)


def retract(step: Map, z: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
    """`z` moved back to where the map is defined after a state was built by hand.

    Rescaling a separation can make a second moment of Adam negative by rounding; a map that has
    such blocks offers `retract`.
    """
    own: Callable[[Tensor], Tensor] | None = getattr(step, "retract", None)
    return z if own is None else own(z)


Push = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""States `(systems, 1, dim)` and tangents `(tangents, systems, dim)`, a step further."""


def push_of(step: Map) -> Push | None:
    """How a map moves tangents, if `torch.func` cannot and it does so itself."""
    own: Push | None = getattr(step, "push", None)
    return own


def has_tangent(step: Map, dim: int) -> Bool[Tensor, " dim"]:
    """Which numbers of a state have tangents: all, unless the map says."""
    own: Tensor | None = getattr(step, "has_tangent", None)
    return torch.ones(dim, dtype=torch.bool) if own is None else own
