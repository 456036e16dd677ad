"""Linear maps: one matrix, or a new random matrix at every step."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.func import vmap

from lyapopt.dynamics.maps import State
from lyapopt.dynamics.randomness import hashed_key, hashed_uniform
from lyapopt.dynamics.systems._textbook import TextbookSystem
from lyapopt.errors import UserError


class LinearMap(TextbookSystem):
    """`z <- A z`; the exponents are the logarithms of the moduli of the eigenvalues of `A`.

    Args:
        matrix: `(dim, dim)` for all systems, or `(systems, dim, dim)`.

    Raises:
        UserError: If the matrix is not square.

    Example:
        >>> step = LinearMap(torch.diag(torch.tensor([2.0, 0.5], dtype=torch.float64)))
        >>> [round(value, 4) for value in step.exponents]
        [0.6931, -0.6931]
    """

    transient = 0

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        if matrix.dim() not in (2, 3) or matrix.shape[-1] != matrix.shape[-2]:
            raise UserError(
                "LinearMap: matrix must be (dim, dim) or (systems, dim, dim), "
                f"not {tuple(matrix.shape)}"
            )
        self.dim = matrix.shape[-1]
        self.matrix = matrix
        self._systems = len(matrix) if matrix.dim() == 3 else None

    def __call__(self, z: State, t: int) -> State:
        """The next state."""
        return z @ self.matrix.mT

    def _starts(self, uniform: State) -> State:
        return 2 * uniform - 1

    @property
    def exponents(self) -> tuple[float, ...] | None:
        """Logarithms of the eigenvalues' moduli, if all systems have one matrix."""
        if self.matrix.dim() == 3:
            return None
        moduli = torch.linalg.eigvals(self.matrix).abs().log()
        return tuple(sorted(moduli.tolist(), reverse=True))


class RandomMatrices(TextbookSystem):
    """`z <- A_t z` with independent Gaussian matrices, a pure function of (seed, system, t).

    Entries are normal with variance `scale^2 / dim`. The exponents are exact:
    `ln(scale / sqrt dim) + (ln 2 + psi((dim - i) / 2)) / 2` for `i = 0 .. dim - 1`.

    Args:
        dim: Number of coordinates.
        scale: Standard deviation of an entry, times the root of `dim`.
        seed: Seed of the matrices.

    Source: Newman, Commun. Math. Phys. 103 (1986) 121.
    """

    transient = 0

    def __init__(self, dim: int = 3, scale: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        self.dim = dim
        self.scale = scale
        self.seed = seed

    def matrices(self, systems: int, t: int) -> Float64[Tensor, "systems dim dim"]:
        """The matrices of step `t`."""
        # Counter-based numbers, because generators do not work under vmap.
        keys = hashed_key(torch.arange(systems), self.seed, t)
        u = vmap(partial(hashed_uniform, size=torch.Size([2, self.dim, self.dim])))(keys)
        normal = (-2 * torch.log1p(-u[:, 0])).sqrt() * torch.cos(2 * math.pi * u[:, 1])
        return normal * (self.scale / math.sqrt(self.dim))

    def __call__(self, z: State, t: int) -> State:
        """The next state."""
        return z @ self.matrices(len(z), t).to(z).mT

    def _starts(self, uniform: State) -> State:
        return 2 * uniform - 1

    @property
    def exponents(self) -> tuple[float, ...]:
        """Newman's formula."""
        halves = (self.dim - torch.arange(self.dim, dtype=torch.float64)) / 2
        values = (
            math.log(self.scale / math.sqrt(self.dim))
            + (math.log(2) + torch.special.digamma(halves)) / 2
        )
        return tuple(values.tolist())
