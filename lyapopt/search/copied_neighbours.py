"""Neighbours that are copies of a model and its optimiser, and how they separate from the first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lyapopt.exponents.rounding import Radii, Rounding
from lyapopt.search.float64_copy import Float64Copy


class CopiedNeighbours:
    """Copies that start at a radius from a reference, and are put back to it after each step.

    As in `lyapopt.exponents.from_neighbours`: the radius grows with the weights, and a separation
    that rounding has swallowed is drawn anew.

    Args:
        reference: The copy that was not perturbed.
        neighbours: The others.
        radius: Norm over the weights that they are moved by.
        seeds: Of the directions, one for each neighbour.

    Attributes:
        log_growth: Of every neighbour in every step; NaN where rounding swallowed a separation.
    """

    def __init__(
        self,
        reference: Float64Copy,
        neighbours: Sequence[Float64Copy],
        radius: float,
        seeds: Sequence[int],
    ) -> None:
        self._reference = reference
        self._neighbours = neighbours
        self._seeds = seeds
        self.log_growth: list[list[float]] = []
        nominal = reference.weights().new_full((len(neighbours),), radius)
        self._radii = Radii(nominal)
        for one, seed, each in zip(neighbours, seeds, self._radii_of(reference), strict=True):
            one.perturb(each, seed)

    def rescale(self) -> float:
        """Put every neighbour back; the mean of the logarithms of their growth in this step.

        `-inf` where all have met the reference, `inf` where one has left the numbers, NaN where
        rounding has swallowed a separation.
        """
        weights = self._reference.weights()
        separations = [one.separation(self._reference) for one in self._neighbours]
        if not all(map(math.isfinite, separations)):
            self.log_growth.append([math.inf] * len(separations))
            return math.inf
        norms = torch.tensor([separations], dtype=torch.float64, device=weights.device)
        growth = (norms / self._radii.present).log()
        rounding = self._radii.rounding(weights.view(1, 1, -1), norms, self._away)
        self._put_back(rounding, separations)
        if rounding.says_nothing is not None and bool(rounding.says_nothing.any()):
            self.log_growth.append([math.nan] * len(separations))
            return math.nan
        self.log_growth.append(growth[0].tolist())
        apart = growth[norms > 0]
        return float(apart.mean()) if len(apart) else -math.inf

    def separate_what_is_trained(self) -> None:
        """Go on at the radius in the weights that are trained now, with the others as they are."""
        radii = self._radii.present.flatten().tolist()
        for one, radius, seed in zip(self._neighbours, radii, self._seeds, strict=True):
            one.freeze_as(self._reference)
            separation = one.separation(self._reference)
            if separation > 0 and math.isfinite(separation):
                one.rescale(self._reference, radius / separation)
            else:
                one.perturb(radius, seed)

    def _put_back(self, rounding: Rounding, separations: Sequence[float]) -> None:
        radii = self._radii.begin(rounding)[0].tolist()
        lost = [False] * len(radii) if rounding.is_lost is None else rounding.is_lost[0].tolist()
        for k, (one, separation) in enumerate(zip(self._neighbours, separations, strict=True)):
            if lost[k]:
                one.rescale(self._reference, 0.0)
                one.perturb(radii[k], self._seeds[k])
            elif separation > 0:
                one.rescale(self._reference, radii[k] / separation)

    def _radii_of(self, reference: Float64Copy) -> list[float]:
        found: list[float] = self._radii.of_drawn(reference.weights().view(1, 1, -1))[0].tolist()
        return found

    def _away(self) -> Tensor:
        """The separations in the weights, `(1, K, P)`."""
        weights = self._reference.weights()
        return torch.stack([one.weights() - weights for one in self._neighbours]).unsqueeze(0)
