"""Named tensors as pieces of a flat vector, or of a stack of flat vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapopt.dynamics.system import System


class Pieces:
    """Where named tensors of a system lie in its flat vector; all results are views.

    Args:
        system: Where shapes are read from.
        names: Parameters or buffers, in the order of the vector.
    """

    def __init__(self, system: System, names: tuple[str, ...]) -> None:
        self.names = names
        tensors = [system.tensor(name) for name in names]
        self.shapes = [tensor.shape for tensor in tensors]
        self._sizes = [tensor.numel() for tensor in tensors]

    def of(self, flat: Tensor) -> dict[str, Tensor]:
        """Tensors of one vector `(n,)`."""
        parts = torch.split(flat, self._sizes) if self._sizes else ()
        return {n: p.view(s) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}

    def stacks(self, flat: Tensor) -> dict[str, Tensor]:
        """Tensors `(rows, *shape)` of a stack of vectors `(rows, n)`."""
        parts = torch.split(flat, self._sizes, 1) if self._sizes else ()
        return {
            name: part.view(-1, *shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def innermost(self, flat: Tensor) -> dict[str, Tensor]:
        """Tensors `(rows, *shape)` with rows innermost, of vectors as columns `(n, rows)`."""
        parts = torch.split(flat, self._sizes) if self._sizes else ()
        return {
            name: part.view(*shape, -1).movedim(-1, 0)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }
