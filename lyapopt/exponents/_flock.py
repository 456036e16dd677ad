"""References and their neighbours on their way: stepping, rescaling, drawing anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lyapopt.dynamics import maps
from lyapopt.dynamics.maps import Map
from lyapopt.exponents.checks import check_step
from lyapopt.exponents.directions import embed, on_sphere, weight_positions
from lyapopt.exponents.separations import Distance, separation_function, weight_norms

Observer = Callable[[int, Tensor, Tensor | None], None]
"""Called with `t`, the state `(M, 1 + K, D)` at `t` and the losses there, before step `t`."""

_FAINT = 1e-6  # fall of a separation in the weights, against that in the state, in one segment


class Flock:
    """`M` references with their neighbours, one stacked state.

    Args:
        step: The map.
        z0: References, `(M, 1, D)`.
        radii: Separation that each neighbour is rescaled to, `(K,)`.
        copies: How often each direction is used: K is a multiple of it, and neighbours that lie
            K / copies apart start in the same direction.
        distance: What is measured.
        seeds: One a system, or one for all.
        observe: Called before each step with the first K / copies neighbours.
    """

    def __init__(
        self,
        step: Map,
        z0: Tensor,
        radii: Tensor,
        copies: int,
        distance: Distance,
        seeds: Sequence[int],
        observe: Observer | None,
    ) -> None:
        self.step = step
        self.losses: Tensor | None = None
        self._radius = float(radii[0])
        self._radii = radii.to(z0).view(1, -1, 1)
        self._copies = copies
        self._directions = len(radii) // copies
        self._seeds = seeds
        self._measure = separation_function(step, distance)
        self._away: Tensor | None = None
        self._norms: Tensor | None = None
        self._observe = observe
        self._positions = weight_positions(step, z0.shape[-1])
        self._share = torch.ones_like(self._radii)  # of the weights in the norm of a separation
        self.z = self._with_neighbours(z0.detach(), time=0)

    def advance(self, t: int) -> None:
        """One step of all."""
        before = self.z
        after, losses = maps.step_with_losses(self.step, before, t)
        check_step(before, after)
        shown = slice(0, 1 + self._directions)
        self.z = after.detach()
        self.losses = None if losses is None else losses.detach()[:, shown]
        if self._observe is not None:
            self._observe(t, before[:, shown], self.losses)

    @property
    def z(self) -> Tensor:
        """The stacked state, `(M, 1 + K, D)`, reference first."""
        return self._z

    @z.setter
    def z(self, z: Tensor) -> None:
        self._z = z
        self._away = self._norms = None

    def separations(self) -> Tensor:
        """Separations of the neighbours as they are measured, `(M, K)`, float64."""
        if self._measure is None:
            return self.weight_separations().double()
        return self._measure(self.z)

    @property
    def radius(self) -> float:
        """The radius that the first neighbours are rescaled to."""
        return self._radius

    def weights(self, z: Tensor) -> Tensor:
        """The weight block of states or differences, `(M, trajectories, P)`."""
        return maps.weights(self.step, z)

    def differences(self) -> Tensor:
        """Neighbours minus references, `(M, K, D)`."""
        if self._away is None:
            self._away = maps.difference(self.step, self.z[:, 1:], self.z[:, :1])
        return self._away

    def weight_separations(self) -> Tensor:
        """Norms of the differences over the weights, `(M, K)`."""
        if self._norms is None:
            self._norms = weight_norms(self.step, self.differences())
        return self._norms

    def rescale(self) -> None:
        """Put every neighbour back to its radius along its own direction.

        A perturbation can leave the weights for a step and come back from the momentum (heavy ball
        with lr h = 1). Blowing up what is left of it by the norm of the weights would throw the
        momentum far out of the linear regime, so that such a neighbour goes on as it is.
        """
        away = self.differences()
        norms = self.weight_separations().unsqueeze(-1)
        factors = self._radii / norms
        if self._positions is not None:
            share = norms / torch.linalg.vector_norm(away, dim=-1, keepdim=True)
            factors = torch.where(share < _FAINT * self._share, 1.0, factors)
            self._share = share.nan_to_num(0.0)
        # A neighbour that has met its reference has no direction; it stays there.
        self._place(away * torch.where(norms > 0, factors, 1.0))

    def redraw(self, time: int) -> None:
        """Replace the neighbours by new ones."""
        self.z = self._with_neighbours(self.z[:, :1], time)
        self._share = torch.ones_like(self._radii)

    def _with_neighbours(self, reference: Tensor, time: int) -> Tensor:
        systems, _, dim = reference.shape
        width = dim if self._positions is None else len(self._positions)
        unit = on_sphere(self._seeds, self._directions, width, time).to(reference)
        away = embed(unit.repeat(1, self._copies, 1) * self._radii, self._positions, dim)
        return self._around(reference, away.expand(systems, -1, -1))

    def _place(self, away: Tensor) -> None:
        self.z = self._around(self.z[:, :1], away)

    def _around(self, reference: Tensor, away: Tensor) -> Tensor:
        return maps.retract(self.step, torch.cat([reference, reference + away], 1))
