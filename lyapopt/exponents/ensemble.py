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
from lyapopt.exponents.checks import check_step
from lyapopt.exponents.perturbations import (
    Distance,
    embed,
    on_sphere,
    separation_function,
    weight_norms,
    weight_positions,
)

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
        self._radii = radii.to(z0).view(1, -1, 1)
        self._copies = copies
        self._directions = len(radii) // copies
        self._seeds = seeds
        self._observe = observe
        self._positions = weight_positions(step, z0.shape[-1])
        self._share = torch.ones_like(self._radii)  # of the weights in the norm of a separation

    @property
    @abstractmethod
    def reference(self) -> Float[Tensor, "systems 1 dim"]:
        """States of the references."""

    @abstractmethod
    def advance(self, t: int) -> None:
        """Move everything by step `t` of the map."""

    @abstractmethod
    def differences(self) -> Float[Tensor, "systems separations dim"]:
        """The separations as vectors of the state."""

    @abstractmethod
    def weight_separations(self) -> Float[Tensor, "systems separations"]:
        """Norms of the separations over the weights."""

    @abstractmethod
    def replace(self, differences: Float[Tensor, "systems separations dim"]) -> None:
        """Put other separations in the place of the present ones."""

    def separations(self) -> Float[Tensor, "systems separations"]:
        """Lengths of the separations as they are measured, float64."""
        return self.weight_separations().double()

    def weights(
        self, z: Float[Tensor, "systems vectors dim"]
    ) -> Float[Tensor, "systems vectors weights"]:
        """The weight block of states or separations."""
        return maps.weights(self.step, z)

    def rescale(self) -> None:
        """Put every separation back to its radius along its own direction.

        A perturbation can leave the weights for a step and come back from the momentum (heavy ball
        with lr h = 1). Blowing up what is left of it by the norm of the weights would throw the
        momentum far out of the linear regime, so that such a separation goes on as it is.
        """
        away = self.differences()
        norms = self.weight_separations().unsqueeze(-1)
        factors = self._radii / norms
        if self._positions is not None:
            share = norms / torch.linalg.vector_norm(away, dim=-1, keepdim=True)
            factors = torch.where(share < _FAINT * self._share, 1.0, factors)
            self._share = share.nan_to_num(0.0)
        # A separation of zero has no direction; it stays zero.
        self.replace(away * torch.where(norms > 0, factors, 1.0))

    def redraw(self, time: int) -> None:
        """Replace the separations by new random ones, which follow from the seeds and `time`."""
        systems, _, dim = self.reference.shape
        width = dim if self._positions is None else len(self._positions)
        unit = on_sphere(self._seeds, self._directions, width, time).to(self._radii)
        away = embed(unit.repeat(1, self._copies, 1) * self._radii, self._positions, dim)
        self.replace(away.expand(systems, -1, -1))
        self._share = torch.ones_like(self._radii)


class NeighbourEnsemble(Ensemble):
    """`M` references with `K` neighbours each, one stacked state `z`, `(M, 1 + K, D)`.

    Args:
        step, z0, radii, copies, seeds: See `Ensemble`.
        distance: What separations are measured in.
        observe: Called before each step with the first K / copies neighbours.
    """

    _away: Tensor | None
    _norms: Tensor | None

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
        self._move(z0.detach())
        self.redraw(time=0)

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

    def separations(self) -> Float[Tensor, "systems neighbours"]:
        """Separations of the neighbours as they are measured, float64."""
        return super().separations() if self._measure is None else self._measure(self._z)

    def differences(self) -> Float[Tensor, "systems neighbours dim"]:
        """Neighbours minus references."""
        if self._away is None:
            self._away = maps.difference(self.step, self._z[:, 1:], self._z[:, :1])
        return self._away

    def weight_separations(self) -> Float[Tensor, "systems neighbours"]:
        """Norms of the differences over the weights."""
        if self._norms is None:
            self._norms = weight_norms(self.step, self.differences())
        return self._norms

    def replace(self, differences: Float[Tensor, "systems neighbours dim"]) -> None:
        """Put the neighbours at other differences from their references."""
        reference = self.reference
        self._move(maps.retract(self.step, torch.cat([reference, reference + differences], 1)))

    def _move(self, z: Tensor) -> None:
        self._z = z
        self._away = self._norms = None
