"""References and tangent vectors on their way: neighbours at no distance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lyapopt.dynamics import maps
from lyapopt.dynamics.maps import Map
from lyapopt.exponents._flock import Observer
from lyapopt.exponents._tangent_step import TangentStep
from lyapopt.exponents.directions import embed, on_sphere, weight_positions
from lyapopt.exponents.separations import weight_norms

_FAINT = 1e-6  # fall of a tangent in the weights, against that in the state, in one segment


class TangentFlock:
    """`M` references with `K` tangent vectors each, in the form of a `Flock`.

    Args:
        step: The map.
        z0: References, `(M, 1, D)`.
        count: Tangents K of each system; they start in the directions of neighbours.
        seeds: One a system, or one for all.
        observe: Called before each step with the references.
    """

    radius = 1.0
    """The norm over the weights that tangents are rescaled to: any number, they have no extent."""

    def __init__(
        self,
        step: Map,
        z0: Tensor,
        count: int,
        seeds: Sequence[int],
        observe: Observer | None,
    ) -> None:
        self.step = step
        self.z = z0.detach()
        self.losses: Tensor | None = None
        self._push = TangentStep(step, None)
        self._observe = observe
        dim = z0.shape[-1]
        positions = weight_positions(step, dim)
        self._is_partial = positions is not None
        width = dim if positions is None else len(positions)
        unit = on_sphere(seeds, count, width, 0).to(z0)
        self._tangents = embed(unit, positions, dim).expand(len(z0), -1, -1)
        self._share = torch.ones_like(self._tangents[..., :1])

    def advance(self, t: int) -> None:
        """One step of references and tangents."""
        before = self.z
        _, pushed = self._push(before, self._tangents.movedim(1, 0), t)
        # A map may work in place, and the observer is to see what was before.
        after, losses = maps.step_with_losses(self.step, before.clone(), t)
        self.z, self._tangents = after.detach(), pushed.movedim(0, 1)
        self.losses = None if losses is None else losses.detach()
        if self._observe is not None:
            self._observe(t, before, self.losses)

    def separations(self) -> Tensor:
        """Norms of the tangents over the weights, `(M, K)`, float64."""
        return self.weight_separations().double()

    def weights(self, z: Tensor) -> Tensor:
        """The weight block of states or tangents, `(M, trajectories, P)`."""
        return maps.weights(self.step, z)

    def differences(self) -> Tensor:
        """The tangents, `(M, K, D)`."""
        return self._tangents

    def weight_separations(self) -> Tensor:
        """Norms of the tangents over the weights, `(M, K)`."""
        return weight_norms(self.step, self._tangents)

    def rescale(self) -> None:
        """Put every tangent back to norm one, unless it has left the weights for a step."""
        norms = self.weight_separations().unsqueeze(-1)
        factors = torch.where(norms > 0, 1.0 / norms, 1.0)
        if self._is_partial:
            share = norms / torch.linalg.vector_norm(self._tangents, dim=-1, keepdim=True)
            factors = torch.where(share < _FAINT * self._share, 1.0, factors)
            self._share = share.nan_to_num(0.0)
        self._tangents = self._tangents * factors
