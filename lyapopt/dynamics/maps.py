"""What a map is: `step(z, t) -> z`, and the defaults for all that a map may leave out.

Everything that lyapopt measures is a map on states of shape `(systems, trajectories, dim)`: the
logistic map, a Runge-Kutta step of Lorenz, one step of training a network. Estimators ask this
module for the optional parts, so that plain functions are maps too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

from torch import Tensor

Map = Callable[[Tensor, int], Tensor]
"""One step: state `(systems, trajectories, dim)` and time to the next state, same shape."""


@runtime_checkable
class MapWithLosses(Protocol):
    """A map that knows the loss of every trajectory without a second forward pass."""

    def step_with_losses(self, z: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """The next state, and the losses at `z`, shape `(systems, trajectories)`."""
        ...


def step_with_losses(step: Map, z: Tensor, t: int) -> tuple[Tensor, Tensor | None]:
    """One step, with the losses at `z` if the map has any."""
    if isinstance(step, MapWithLosses):
        return step.step_with_losses(z, t)
    return step(z, t), None


def weights(step: Map, z: Tensor) -> Tensor:
    """The block of the state that separations are measured in: all of it, unless the map says."""
    block = getattr(step, "weights", None)
    return z if block is None else cast(Tensor, block(z))


def difference(step: Map, a: Tensor, b: Tensor) -> Tensor:
    """`a - b` in the geometry of the map (on a torus: the short way round)."""
    own = getattr(step, "difference", None)
    return a - b if own is None else cast(Tensor, own(a, b))


def retract(step: Map, z: Tensor) -> Tensor:
    """`z` moved back to where the map is defined after a state was built by hand.

    Rescaling a separation can make a second moment of Adam negative by rounding; a map that has
    such blocks offers `retract`.
    """
    own = getattr(step, "retract", None)
    return z if own is None else cast(Tensor, own(z))
