"""An orthonormal frame of tangent vectors: its growth, and what of that is only rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyapopt.dynamics import maps
from lyapopt.dynamics.maps import Map
from lyapopt.exponents.perturbations import embed, on_sphere, weight_positions
from lyapopt.exponents.tangents import TangentStep

_SUSPICIOUS = 64.0  # times the rounding error
_SAME = 0.01  # change of a logarithm that a rounding of its own cannot explain


class Frame:
    """`k` tangent vectors Q of `M` systems, orthonormalised by QR with a positive diagonal.

    The R factors hold everything: their diagonals are the growth of the vectors, their product maps
    coordinates in the first frame to coordinates in the last one.

    Args:
        Q: Orthonormal tangents, `(M, D, k)`.
    """

    def __init__(self, Q: Float[Tensor, "systems dim k"]) -> None:
        self.Q = Q
        self.segment_steps: list[int] = []
        systems, _, k = Q.shape
        identity = torch.eye(k, dtype=torch.float64, device=Q.device)
        # Coordinates in the frame of a vector that is pushed with it, and never orthonormalised.
        self._witness = identity[:, 1:2].expand(systems, -1, -1) if k > 1 else None
        self._product = identity.expand(systems, -1, -1)
        self._log_product = Q.new_zeros(systems, dtype=torch.float64)
        self._logs: list[Tensor] = []
        self._alignment: list[Tensor] = []
        self._shares: list[Tensor] = []

    @property
    def tangents(self) -> Float[Tensor, "k systems dim"]:
        """The vectors, as a map is given them."""
        return self.Q.permute(2, 0, 1)

    def orthonormalise(
        self,
        pushed: Float[Tensor, "k systems dim"],
        steps: int,
        is_measured: bool,
        log_scale: Float[Tensor, " systems"],
    ) -> None:
        """`J Q = Q' R`: the next frame, of which the growth is written down if it is measured.

        Args:
            pushed: The tangents `J Q` at the end of a segment, over a scale of each system.
            steps: Steps of the segment.
            is_measured: Whether the burn-in is over.
            log_scale: Logarithm of the scale (see `within_range`).
        """
        JQ = pushed.permute(1, 2, 0)
        is_finite = torch.isfinite(JQ).all(-1).all(-1)
        JQ = torch.where(is_finite.view(-1, 1, 1), JQ, 0.0)  # LAPACK is given no NaN
        self.Q, R = qr(JQ)
        R = R.double()
        self._turn_witness(R)
        if not is_measured:
            return
        diagonal = R.diagonal(dim1=-2, dim2=-1)
        logs = diagonal.log() + log_scale.unsqueeze(-1)
        self._logs.append(torch.where(is_finite.unsqueeze(-1), logs, torch.nan))
        largest = R.norm(dim=-2).amax(-1, keepdim=True)
        self._shares.append(diagonal / largest.clamp(min=torch.finfo(R.dtype).tiny))
        if self._witness is not None:
            self._alignment.append(self._witness[:, 0, 0].abs())
        self._multiply(R)
        self._log_product = self._log_product + log_scale
        self.segment_steps.append(steps)

    def increments(self) -> Float[Tensor, "segments systems k"]:
        """`ln R_ii`: log growth of every vector in every segment; NaN once diverged."""
        logs = torch.stack(self._logs)
        is_valid = (~torch.isnan(logs).any(-1)).cumprod(0).bool()
        return torch.where(is_valid.unsqueeze(-1), logs, torch.nan)

    def smallest_shares(self) -> Float[Tensor, "systems k"]:
        """Diagonal of R over its largest column, the least of all segments."""
        return torch.stack(self._shares).amin(0)

    def alignment(self) -> Float[Tensor, "segments systems"] | None:
        """Cosine between the first tangent and an independent one, after every segment."""
        return None if self._witness is None else torch.stack(self._alignment)

    def largest_growth(self) -> Float[Tensor, " systems"]:
        """Log of the largest singular value of the product of all R."""
        product = self._product.nan_to_num(0.0)
        largest: Tensor = torch.linalg.matrix_norm(product, ord=2)
        return self._log_product + largest.log()

    def _turn_witness(self, R: Float[Tensor, "systems k k"]) -> None:
        if self._witness is not None:
            turned = R @ self._witness
            self._witness = turned / turned.norm(dim=-2, keepdim=True)

    def _multiply(self, R: Float[Tensor, "systems k k"]) -> None:
        product = R @ self._product
        norm = product.flatten(1).norm(dim=-1)
        safe = torch.where(norm > 0, norm, 1.0)
        self._product = product / safe.view(-1, 1, 1)
        self._log_product = self._log_product + norm.log()


def within_range(
    tangents: Float[Tensor, "k systems dim"],
) -> tuple[Float[Tensor, "k systems dim"], Float[Tensor, " systems"]]:
    """Tangents over a power of two for each system, and its logarithm, float64.

    It is 1 unless the tangents come near an overflow or an underflow, and takes no digit.
    """
    largest = tangents.abs().amax((0, 2))
    limits = torch.finfo(tangents.dtype)
    is_far = (largest > limits.max**0.5) | ((largest < limits.tiny**0.5) & (largest > 0))
    furthest = math.frexp(limits.max)[1] - 8  # the power itself is to be a normal number
    exponent = torch.frexp(largest).exponent.clamp(-furthest, furthest)
    exponent = exponent * (is_far & largest.isfinite())
    scaled = torch.ldexp(tangents, -exponent.view(1, -1, 1))
    return scaled, exponent * math.log(2)


def qr(
    vectors: Float[Tensor, "systems dim k"],
) -> tuple[Float[Tensor, "systems dim k"], Float[Tensor, "systems k k"]]:
    """Q and R, with a diagonal of R that is not negative."""
    Q, R = torch.linalg.qr(vectors)
    signs = torch.where(R.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(Q.dtype)
    return Q * signs.unsqueeze(-2), R * signs.unsqueeze(-1)


@dataclass(frozen=True)
class Moment:
    """State and frame at time `t`."""

    z: Float[Tensor, "systems 1 dim"]
    Q: Float[Tensor, "systems dim k"]
    t: int


@dataclass(frozen=True)
class Resolution:
    """Increments with unresolved zeros as `-inf`, and which exponents are in doubt.

    A singular Jacobian (lr h = 1, momentum 0 in a state with a buffer, more weights than examples
    at the edge) annihilates a direction; in floating point something of the size of the rounding
    error is left, of which the logarithm would be taken as a finite exponent near -36. The tangents
    are pushed again three times as long: what is proportional to them is growth, what is not is
    rounding.

    Attributes:
        increments: Log growth in every segment, `(segments, M, k)`.
        is_zero: Exponents that are `-inf`, `(M, k)`.
        is_doubtful: Exponents whose growth fell below rounding in some segment although the map is
            not singular: QR was too seldom, `(M, k)`.
        gradient_evaluations: Spent on each system to find out.
    """

    increments: Float[Tensor, "segments systems k"]
    is_zero: Bool[Tensor, "systems k"]
    is_doubtful: Bool[Tensor, "systems k"]
    gradient_evaluations: int

    @classmethod
    def of(cls, frame: Frame, last: Moment, push: TangentStep) -> Resolution:
        """Judge the growth of a frame; `last` is the beginning of its last segment."""
        increments = frame.increments()
        _, dim, k = last.Q.shape
        rounding = torch.finfo(last.Q.dtype).eps * dim**0.5
        least = torch.minimum(frame.smallest_shares(), increments.nan_to_num(0.0).amin(0).exp())
        is_lost = torch.isnan(increments).any(0)
        # In one step a growth of 0 is exact; in many of them two tangents may just have merged.
        is_exact = max(frame.segment_steps) == 1
        is_zero = torch.isneginf(increments).any(0) & ~is_lost & is_exact
        is_suspicious = (least < _SUSPICIOUS * rounding) & ~is_zero & ~is_lost
        if not bool(is_suspicious.any()):
            return cls(increments, is_zero, is_suspicious, 0)
        r = [_growth(last, push, factor) for factor in (1.0, 3.0)]
        is_rounding = is_suspicious & ~((r[0].log() - r[1].log()).abs() <= _SAME)
        is_doubtful = is_suspicious & ~is_rounding
        increments = torch.where(is_rounding, -torch.inf, increments)
        # NaN is left out of the mean.
        increments = torch.where(is_doubtful & torch.isneginf(increments), torch.nan, increments)
        return cls(increments, is_zero | is_rounding, is_doubtful, 2 * (1 + 2 * k))


def _growth(moment: Moment, push: TangentStep, factor: float) -> Float[Tensor, "systems k"]:
    """Diagonal of R after one step of tangents of length `factor`, over `factor`."""
    tangents = (moment.Q * factor).permute(2, 0, 1)
    pushed = push(moment.z, tangents, moment.t)[1].permute(1, 2, 0).nan_to_num(0.0, 0.0, 0.0)
    return qr(pushed)[1].diagonal(dim1=-2, dim2=-1).double() / factor


class Dead(NamedTuple):
    """Which systems are dead, and the gradients spent on each to find out."""

    rows: Bool[Tensor, " systems"]
    gradient_evaluations: int


class DeadNetworkCheck:
    """Whether weights that never move could be moved by a gradient.

    Args:
        step: The map.
        z: States of the references, `(M, 1, D)`, from which on weights are watched.
    """

    def __init__(self, step: Map, z: Float[Tensor, "systems 1 dim"]) -> None:
        self._step = step
        self._first = maps.weights(step, z).clone()
        self._never_moved = torch.ones(len(z), dtype=torch.bool, device=z.device)

    def watch(self, z: Float[Tensor, "systems 1 dim"]) -> None:
        """Compare the weights with the first ones."""
        self._never_moved &= (maps.weights(self._step, z) == self._first).all(-1)[:, 0]

    def dead(self, last: Moment, push: TangentStep, seeds: Sequence[int]) -> Dead:
        """Whether weights that never moved would not do so from a little beside them either.

        That tells a dead network from one that rests in a minimum. The exponents cannot: momentum
        and moments have exponents of their own.

        Args:
            last: The state to perturb the weights at.
            push: The map with its derivative.
            seeds: Of the direction: one a system, or one for all.
        """
        if not bool(self._never_moved.any()):
            return Dead(self._never_moved, 0)
        systems, _, dim = last.z.shape
        positions = weight_positions(self._step, dim)
        width = dim if positions is None else len(positions)
        unit = embed(on_sphere(seeds, 1, width, last.t), positions, dim).to(last.z)
        tangent = unit.expand(systems, -1, -1).movedim(1, 0)
        pushed = push(last.z, tangent, last.t)[1]
        before, after = (maps.weights(self._step, each.movedim(0, 1)) for each in (tangent, pushed))
        moved = torch.linalg.vector_norm(after - before, dim=-1)[:, 0]
        rounding = 8 * torch.finfo(last.z.dtype).eps
        return Dead(self._never_moved & (moved <= rounding), 3)
