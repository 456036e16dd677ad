"""Area-preserving maps of the torus: Arnold's cat and Chirikov's standard map."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapopt.dynamics.systems._textbook import Parameter, TextbookSystem


class CatMap(TextbookSystem):
    """`x <- 2 x + y`, `y <- x + y` modulo 1: uniformly hyperbolic, area-preserving.

    The exponents are the logarithms of the eigenvalues (3 +- sqrt 5) / 2 exactly. On doubles the
    map is a permutation of a lattice, so that orbits do not collapse.

    Source: Arnold & Avez, Ergodic Problems of Classical Mechanics (1968).
    """

    dim = 2
    transient = 0

    def __call__(self, z: Tensor, t: int) -> Tensor:
        """The next state."""
        x, y = z.unbind(-1)
        return torch.remainder(torch.stack([2 * x + y, x + y], -1), 1.0)

    def difference(self, a: Tensor, b: Tensor) -> Tensor:
        """`a - b` the short way round the torus."""
        return _short_way(a - b, 1.0)

    def _starts(self, uniform: Tensor) -> Tensor:
        return uniform

    @property
    def exponents(self) -> tuple[float, ...]:
        """ln((3 + sqrt 5) / 2) and its negative."""
        largest = math.log((3 + math.sqrt(5)) / 2)
        return (largest, -largest)


class StandardMap(TextbookSystem):
    """`p <- p + k sin x`, `x <- x + p` modulo 2 pi (the new p): the kicked rotor.

    Area-preserving, so that the exponents are a pair of opposite numbers. In the chaotic sea for
    `k > 4` the largest is ln(k / 2) to a few percent; smaller `k` have islands of regular motion.

    Source: Chirikov, Phys. Rep. 52 (1979) 263, section 5.
    """

    dim = 2

    def __init__(self, k: Parameter = 8.0) -> None:
        super().__init__(k=k)

    def __call__(self, z: Tensor, t: int) -> Tensor:
        """The next state, coordinates `(x, p)`."""
        x, p = z.unbind(-1)
        kicked = p + self._parameter("k") * x.sin()
        return torch.remainder(torch.stack([x + kicked, kicked], -1), 2 * math.pi)

    def difference(self, a: Tensor, b: Tensor) -> Tensor:
        """`a - b` the short way round the torus."""
        return _short_way(a - b, 2 * math.pi)

    def _starts(self, uniform: Tensor) -> Tensor:
        return 2 * math.pi * uniform


def _short_way(difference: Tensor, period: float) -> Tensor:
    return difference - period * (difference / period).round()
