"""Growth that is too small for the dtype: exactly zero, zero but for rounding, or just small."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lyapopt.exponents._frame import Frame, orthonormal
from lyapopt.exponents._tangent_step import TangentStep

_SUSPICIOUS = 64.0  # times the rounding error
_SAME = 0.01  # change of a logarithm that a rounding of its own cannot explain


@dataclass(frozen=True)
class Moment:
    """State `(M, 1, D)` and frame `(M, D, k)` at time `t`."""

    z: Tensor
    vectors: Tensor
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
        increments: `(segments, M, k)`.
        is_zero: Exponents that are `-inf`, `(M, k)`.
        is_doubtful: Exponents whose growth fell below rounding in some segment although the map is
            not singular: QR was too seldom, `(M, k)`.
        gradient_evaluations: Spent on finding out.
    """

    increments: Tensor
    is_zero: Tensor
    is_doubtful: Tensor
    gradient_evaluations: int

    @classmethod
    def of(cls, frame: Frame, last: Moment, push: TangentStep) -> Resolution:
        """Judge the growth of a frame; `last` is the beginning of its last segment."""
        increments = frame.logs()
        _, dim, count = last.vectors.shape
        rounding = torch.finfo(last.vectors.dtype).eps * dim**0.5
        least = torch.minimum(frame.grades(), increments.nan_to_num(0.0).amin(0).exp())
        is_lost = torch.isnan(increments).any(0)
        # In one step a growth of 0 is exact; in many of them two tangents may just have merged.
        is_zero = torch.isneginf(increments).any(0) & ~is_lost & (max(frame.lengths) == 1)
        is_suspicious = (least < _SUSPICIOUS * rounding) & ~is_zero & ~is_lost
        if not bool(is_suspicious.any()):
            return cls(increments, is_zero, is_suspicious, 0)
        r = [_growth(last, push, factor) for factor in (1.0, 3.0)]
        is_rounding = is_suspicious & ~((r[0].log() - r[1].log()).abs() <= _SAME)
        is_doubtful = is_suspicious & ~is_rounding
        increments = torch.where(is_rounding, -torch.inf, increments)
        increments = torch.where(
            is_doubtful & torch.isneginf(increments), torch.nan, increments
        )  # left out of the mean
        spent = 2 * (1 + 2 * count)
        return cls(increments, is_zero | is_rounding, is_doubtful, spent)


def _growth(moment: Moment, push: TangentStep, factor: float) -> Tensor:
    """Diagonal of R after one step of tangents of length `factor`, over `factor`, `(M, k)`."""
    tangents = (moment.vectors * factor).permute(2, 0, 1)
    pushed = push(moment.z, tangents, moment.t)[1].permute(1, 2, 0).nan_to_num(0.0, 0.0, 0.0)
    return orthonormal(pushed)[1].diagonal(dim1=-2, dim2=-1).double() / factor
