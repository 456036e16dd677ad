"""Ensembles of trajectories: references and their neighbours, stepped, rescaled and redrawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lyapopt.dynamics import maps
from lyapopt.dynamics.maps import Map
from lyapopt.exponents.blocks import Blocks
from lyapopt.exponents.checks import check_step
from lyapopt.exponents.perturbations import (
    Distance,
    embed,
    on_sphere,
    separation_function,
    weight_positions,
)
from lyapopt.exponents.rounding import Radii, Rounding

Observer = Callable[[int, Tensor, Tensor | None], None]
"""Called with `t`, the state `(M, 1 + K, D)` at `t` and the losses there, before step `t`."""

_FAINT = 1e-6  # fall of a separation in the weights, against that in the state, in one segment


class Ensemble(ABC):
    """`M` references with `K` separations each.

    Args:
        step: The map.
        z0: States of the references, `(M, 1, D)`.
        radii: Norm over the weights that each separation is rescaled to, `(K,)`.
        copies: How often each random direction is used: K is a multiple of it, and separations
            that lie K / copies apart start in the same direction.
        seeds: Of the directions: one a system, or one for all.
        observe: Called before each step.
    """

    is_infinitesimal: ClassVar[bool] = False
    """Whether separations are tangents, which have no extent."""

    def __init__(
        self,
        step: Map,
        z0: Float[Tensor, "systems 1 dim"],
        radii: Float[Tensor, " separations"],
        copies: int,
        seeds: Sequence[int],
        observe: Observer | None,
    ) -> None:
        self.step = step
        self.radius = float(radii[0])
        self.losses: Tensor | None = None
        self._nominal = radii.to(z0).view(1, -1)
        self._copies = copies
        self._directions = len(radii) // copies
        self._seeds = seeds
        self._observe = observe
        self._positions = weight_positions(step, z0.shape[-1])
        self._share = torch.ones_like(self._nominal)  # of the weights in the norm of a separation

    @property
    @abstractmethod
    def reference(self) -> Float[Tensor, "systems 1 dim"]:
        """States of the references."""

    @abstractmethod
    def advance(self, t: int) -> None:
        """Move everything by step `t` of the map."""

    @abstractmethod
    def rescale(self, time: int) -> None:
        """Put every separation back to its radius along its own direction, at time `time`."""

    @abstractmethod
    def redraw(self, time: int) -> None:
        """Replace the separations by new random ones, which follow from the seeds and `time`."""

    @abstractmethod
    def differences(self) -> Float[Tensor, "systems separations dim"]:
        """The separations as vectors of the state."""

    @abstractmethod
    def weight_separations(self) -> Float[Tensor, "systems separations"]:
        """Norms of the separations over the weights."""

    def radii(self) -> Float[Tensor, "#systems separations"]:
        """The norms over the weights that separations began the present segment with."""
        return self._nominal

    def rounding(self) -> Rounding | None:
        """What rounding leaves of the separations; `None` if they have no extent."""
        return None

    def rounding_as_measured(self) -> Float[Tensor, "systems 1"] | None:
        """Rounding error of `separations`, where it is another than that in the weights."""
        return None

    def separations(self) -> Float[Tensor, "systems separations"]:
        """Lengths of the separations as they are measured, float64."""
        return self.weight_separations().double()

    def weights(
        self, z: Float[Tensor, "systems vectors dim"]
    ) -> Float[Tensor, "systems vectors weights"]:
        """The weight block of states or separations."""
        return maps.weights(self.step, z)

    def _factors(
        self,
        radii: Float[Tensor, "#systems separations"],
        norms: Float[Tensor, "systems separations"],
        norms_of_state: Float[Tensor, "systems separations"],
    ) -> Float[Tensor, "systems separations"]:
        """What every separation is to be multiplied by.

        A perturbation can leave the weights for a step and come back from the momentum (heavy ball
        with lr h = 1). Blowing up what is left of it by the norm of the weights would throw the
        momentum far out of the linear regime, so that such a separation goes on as it is.
        """
        factors = radii / norms
        if self._positions is not None:
            share = norms / norms_of_state
            factors = torch.where(share < _FAINT * self._share, 1.0, factors)
            self._share = share.nan_to_num(0.0)
        # A separation of zero has no direction; it stays zero.
        return torch.where(norms > 0, factors, 1.0)

    def _drawn(
        self, time: int, radii: Float[Tensor, "#systems separations"]
    ) -> Float[Tensor, "#systems separations dim"]:
        """Random separations of the given radii, which follow from the seeds and `time`."""
        dim = self.reference.shape[-1]
        width = dim if self._positions is None else len(self._positions)
        unit = on_sphere(self._seeds, self._directions, width, time).to(radii)
        return embed(unit.repeat(1, self._copies, 1) * radii.unsqueeze(-1), self._positions, dim)


class NeighbourEnsemble(Ensemble):
    """`M` references with `K` neighbours each, one stacked state `z`, `(M, 1 + K, D)`.

    Args:
        step, z0, radii, copies, seeds: See `Ensemble`.
        distance: What separations are measured in.
        observe: Called before each step with the first K / copies neighbours.
    """

    _norms: Tensor | None
    _norms_of_state: Tensor | None
    _measured: tuple[Tensor, Tensor | None] | None
    _rounding: Rounding | None

    def __init__(
        self,
        step: Map,
        z0: Float[Tensor, "systems 1 dim"],
        radii: Float[Tensor, " neighbours"],
        copies: int,
        distance: Distance,
        seeds: Sequence[int],
        observe: Observer | None,
    ) -> None:
        super().__init__(step, z0, radii, copies, seeds, observe)
        self._measure = separation_function(step, distance)
        self._radii = Radii(self._nominal[0])
        self._move(z0.detach())
        self.redraw(time=0)
        self._blocks = Blocks(step, self._positions, self._z)

    @property
    def reference(self) -> Float[Tensor, "systems 1 dim"]:
        """States of the references."""
        return self._z[:, :1]

    def advance(self, t: int) -> None:
        """One step of references and neighbours."""
        before = self._z
        after, losses = maps.step_with_losses(self.step, before, t)
        check_step(before, after)
        shown = slice(0, 1 + self._directions)
        self._move(after.detach())
        self.losses = None if losses is None else losses.detach()[:, shown]
        if self._observe is not None:
            self._observe(t, before[:, shown], self.losses)

    def rescale(self, time: int) -> None:
        """Put every separation back to its radius along its own direction.

        One that rounding has swallowed has no direction, and is drawn anew.
        """
        rounding = self.rounding()
        norms, norms_of_state = self._lengths()
        radii = self._radii.begin(rounding)
        factors = self._factors(radii, norms, norms_of_state)
        # Another map may keep what it returned.
        z = self._z if maps.returns_new_states(self.step) else self._z.clone()
        self._put(z, self._blocks.scale_(z, factors))
        is_lost = rounding.is_lost
        if is_lost is not None and bool(is_lost.any()):
            drawn = self._drawn(time, radii)
            self._replace(torch.where(is_lost.unsqueeze(-1), drawn, self.differences()))
            self._share = torch.where(is_lost, 1.0, self._share)

    def redraw(self, time: int) -> None:
        """Replace the separations by new random ones, which follow from the seeds and `time`."""
        self._replace(self._drawn(time, self._radii.of_drawn(self.weights(self.reference))))
        self._share = torch.ones_like(self._nominal)

    def separations(self) -> Float[Tensor, "systems neighbours"]:
        """Separations of the neighbours as they are measured, float64."""
        return super().separations() if self._measure is None else self._as_measured()[0]

    def differences(self) -> Float[Tensor, "systems neighbours dim"]:
        """Neighbours minus references."""
        return maps.difference(self.step, self._z[:, 1:], self._z[:, :1])

    def weight_separations(self) -> Float[Tensor, "systems neighbours"]:
        """Norms of the differences over the weights."""
        return self._lengths()[0] if self._norms is None else self._norms

    def radii(self) -> Float[Tensor, "#systems neighbours"]:
        """The norms over the weights that neighbours began the present segment with."""
        return self._radii.present

    def rounding(self) -> Rounding:
        """What rounding leaves of the separations in the weights."""
        if self._rounding is None:
            self._rounding = self._radii.rounding(
                self.weights(self.reference),
                self.weight_separations(),
                lambda: self.weights(self.differences()),
            )
        return self._rounding

    def rounding_as_measured(self) -> Float[Tensor, "systems 1"] | None:
        """Rounding error of separations in the outputs."""
        return None if self._measure is None else self._as_measured()[1]

    def _as_measured(self) -> tuple[Tensor, Tensor | None]:
        assert self._measure is not None
        if self._measured is None:
            self._measured = self._measure(self._z)
        return self._measured

    def _lengths(self) -> tuple[Tensor, Tensor]:
        """Norms of the differences over the weights, and over the whole state."""
        if self._norms is None or self._norms_of_state is None:
            self._norms, self._norms_of_state = self._blocks.lengths(self._z)
        return self._norms, self._norms_of_state

    def _replace(self, differences: Float[Tensor, "#systems neighbours dim"]) -> None:
        """Put the neighbours at other differences from their references."""
        reference = self.reference
        z = torch.cat([reference, reference + differences], 1)
        self._move(maps.retract(self.step, z))

    def _put(self, z: Tensor, norms: Tensor) -> None:
        """The state after a rescaling, whose separations have these norms."""
        retracted = maps.retract(self.step, z)
        self._move(retracted)
        if retracted is z:
            self._norms = norms

    def _move(self, z: Tensor) -> None:
        self._z = z
        self._norms = self._norms_of_state = self._measured = self._rounding = None
