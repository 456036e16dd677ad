"""What rounding leaves of a separation, and the radius at which it leaves enough.

A neighbour is its reference plus a separation, rounded to the digits that the weights have: the
separation carries an error of about `eps |w|`. Where the state outgrows the radius (a divergence
that is slow, a linear map above the edge, weights of 1e9) it would drown. The radius grows with the
state then, to `sqrt(eps) |w|`: the step of a forward difference at which rounding and curvature are
in balance. Both are as small then as `sqrt(eps)`, relative to the separation and to the weights.
The growth that is measured is that of a difference of finite size as ever: where the map is curved
on a scale that has nothing to do with the size of its state, it leaves the linear regime.

Source: Press, Teukolsky, Vetterling & Flannery, Numerical Recipes, section 5.7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyapopt.exponents.checks import UNRESOLVED

SWAMPED = 0.1  # rounding error over a separation that says nothing any more

Separations = Float[Tensor, "systems separations"]


class Rounding(NamedTuple):
    """Rounding at the end of a segment.

    Attributes:
        error: Rounding error of every separation, `(M, 1)` or `(M, K)`.
        whole: The same of a separation in all weights, `(M, 1)`.
        is_coarse: Whether it is not small beside some radius that was asked for.
        is_lost: Whether nothing but rounding is left of a separation, `(M, K)`; `None` where no
            system comes near that.
        says_nothing: Whether a segment may have ended with an error that is not small against what
            was measured in it, `(M, K)`, or `None`.
    """

    error: Float[Tensor, "systems n"]
    whole: Float[Tensor, "systems 1"]
    is_coarse: bool = False
    is_lost: Bool[Tensor, "systems separations"] | None = None
    says_nothing: Bool[Tensor, "systems separations"] | None = None


class Radii:
    """The radius of every separation in the present segment.

    Args:
        nominal: The radii that were asked for, `(K,)`. They are kept wherever they are resolved.
    """

    def __init__(self, nominal: Float[Tensor, " separations"]) -> None:
        self._nominal = nominal.view(1, -1)
        self._ratios = self._nominal / self._nominal[:, :1]
        self._eps = torch.finfo(nominal.dtype).eps
        # Nothing is changed where rounding is small: in float64 up to the relative error 1e-4, that
        # is flagged; in float32, which is never better, up to that of a worthless exponent.
        self._tolerated = min(UNRESOLVED, self._eps**0.25)
        self._finest = self._tolerated * float(nominal.min())
        self._was_partial: Tensor | None = None
        self.present: Separations = self._nominal

    def rounding(
        self,
        weights: Float[Tensor, "systems 1 weights"],
        norms: Separations,
        away: Callable[[], Float[Tensor, "systems separations weights"]],
    ) -> Rounding:
        """What rounding leaves of separations that began the segment at the present radii.

        A weight that both trajectories share to the last digit is rounded alike in both: only those
        that a separation moves count, so that one small chaotic weight can be followed beside a
        huge one. To see which, the separations are read once more; that is done only where some
        radius is not resolved beside all weights.

        Args:
            weights: Of the references.
            norms: Of the separations.
            away: Gives the separations in the weights.
        """
        whole, is_coarse = self._error_of(weights)
        if not is_coarse:
            return Rounding(whole, whole)
        moved = torch.where(away() != 0, weights, 0.0)
        error = torch.where(norms > 0, self._eps * _norm(moved), whole)
        size = SWAMPED * torch.maximum(norms, self.present)
        is_lost = error > size
        # Where the state has jumped, a part of what was measured may be gone with the digits.
        is_partial = whole > size
        if self._was_partial is not None:
            is_partial &= ~self._was_partial
        says_nothing = is_lost | is_partial
        return Rounding(torch.where(is_lost, whole, error), whole, True, is_lost, says_nothing)

    def begin(self, rounding: Rounding) -> Float[Tensor, "#systems separations"]:
        """The radii of the next segment, `(1, K)` or `(M, K)`."""
        self._was_partial = None
        self.present = self._nominal
        if rounding.is_coarse:
            raised = (rounding.error / self._eps**0.5 * self._ratios).maximum(self._nominal)
            is_resolved = ~(rounding.error > self._tolerated * self._nominal)
            self.present = torch.where(is_resolved, self._nominal, raised)
            self._was_partial = rounding.whole > SWAMPED * self.present
        return self.present

    def of_drawn(
        self, weights: Float[Tensor, "systems 1 weights"]
    ) -> Float[Tensor, "#systems separations"]:
        """The radii of separations that are drawn anew, which move all weights."""
        whole, is_coarse = self._error_of(weights)
        return self.begin(Rounding(whole, whole, is_coarse))

    def _error_of(
        self, weights: Float[Tensor, "systems 1 weights"]
    ) -> tuple[Float[Tensor, "systems 1"], bool]:
        """The error of a separation in all weights, and whether any radius is unresolved beside it.

        0 where they are no numbers. The device is waited for.
        """
        whole = self._eps * torch.linalg.vector_norm(weights, dim=-1)
        if not bool((whole > self._finest).any()):
            return whole, False
        whole = self._eps * _norm(weights).nan_to_num(0.0, 0.0)
        return whole, bool((whole > self._finest).any())


def _norm(weights: Float[Tensor, "systems vectors weights"]) -> Float[Tensor, "systems vectors"]:
    """Norms whose squares do not overflow."""
    largest = weights.abs().amax(-1, keepdim=True)
    scale = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
    norm: Tensor = torch.linalg.vector_norm(weights / scale, dim=-1) * scale[..., 0]
    return norm
