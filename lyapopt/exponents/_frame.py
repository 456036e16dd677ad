"""An orthonormal frame of tangent vectors, and the growth written down when it is restored."""

from __future__ import annotations

import torch
from torch import Tensor


class Frame:
    """`k` tangent vectors of `M` systems, orthonormalised by QR with a positive diagonal.

    The R factors hold everything: their diagonals are the growth of the vectors, their product maps
    coordinates in the first frame to coordinates in the last one.

    Args:
        vectors: Orthonormal tangents, `(M, D, k)`.
    """

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors
        systems, _, count = vectors.shape
        identity = torch.eye(count, dtype=torch.float64, device=vectors.device)
        self._witness = identity[:, 1:2].expand(systems, -1, -1) if count > 1 else None
        self._product = identity.expand(systems, -1, -1)
        self._log_product = vectors.new_zeros(systems, dtype=torch.float64)
        self._logs: list[Tensor] = []
        self._alignment: list[Tensor] = []
        self._grade: list[Tensor] = []
        self.lengths: list[int] = []

    @property
    def tangents(self) -> Tensor:
        """The vectors as `(k, M, D)`."""
        return self.vectors.permute(2, 0, 1)

    def restore(self, tangents: Tensor, length: int, is_measured: bool) -> None:
        """Orthonormalise tangents `(k, M, D)`; write the growth down if it is measured."""
        pushed = tangents.permute(1, 2, 0)
        is_finite = torch.isfinite(pushed).all(-1).all(-1)
        pushed = torch.where(is_finite.view(-1, 1, 1), pushed, 0.0)  # LAPACK is given no NaN
        self.vectors, r = orthonormal(pushed)
        r = r.double()
        self._turn_witness(r)
        if not is_measured:
            return
        diagonal = r.diagonal(dim1=-2, dim2=-1)
        self._logs.append(torch.where(is_finite.unsqueeze(-1), diagonal.log(), torch.nan))
        largest = r.norm(dim=-2).amax(-1, keepdim=True)
        self._grade.append(diagonal / largest.clamp(min=torch.finfo(r.dtype).tiny))
        self._alignment.append(self._cosine())
        self._multiply(r)
        self.lengths.append(length)

    def logs(self) -> Tensor:
        """Log growth of every vector in every segment, `(segments, M, k)`; NaN once diverged."""
        logs = torch.stack(self._logs)
        is_valid = (~torch.isnan(logs).any(-1)).cumprod(0).bool()
        return torch.where(is_valid.unsqueeze(-1), logs, torch.nan)

    def grades(self) -> Tensor:
        """Diagonal of R over its largest column, the least over segments, `(M, k)`."""
        return torch.stack(self._grade).amin(0)

    def alignment(self) -> Tensor | None:
        """Cosine between the first tangent and an independent one, `(segments, M)`."""
        return None if self._witness is None else torch.stack(self._alignment)

    def largest_growth(self) -> Tensor:
        """Log of the largest singular value of the product of all R, `(M,)`."""
        product = self._product.nan_to_num(0.0)
        largest: Tensor = torch.linalg.matrix_norm(product, ord=2)
        return self._log_product + largest.log()

    def _turn_witness(self, r: Tensor) -> None:
        if self._witness is not None:
            turned = r @ self._witness
            self._witness = turned / turned.norm(dim=-2, keepdim=True)

    def _cosine(self) -> Tensor:
        if self._witness is None:
            return self._log_product
        return self._witness[:, 0, 0].abs()

    def _multiply(self, r: Tensor) -> None:
        product = r @ self._product
        norm = product.flatten(1).norm(dim=-1)
        safe = torch.where(norm > 0, norm, 1.0)
        self._product = product / safe.view(-1, 1, 1)
        self._log_product = self._log_product + norm.log()


def orthonormal(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """QR with a diagonal that is not negative: `(..., D, k)` to `(..., D, k)` and `(..., k, k)`."""
    q, r = torch.linalg.qr(vectors)
    signs = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(q.dtype)
    return q * signs.unsqueeze(-2), r * signs.unsqueeze(-1)
