"""Maps of the interval, of the plane and of the torus."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapopt.dynamics.maps import State
from lyapopt.dynamics.systems._textbook import Parameter, TextbookSystem
from lyapopt.errors import UserError


class Logistic(TextbookSystem):
    """`x <- r x (1 - x)` on [0, 1]; for `r = 4` the exponent is ln 2 exactly.

    Source: May, Nature 261 (1976) 459; Ulam & von Neumann 1947 for the density at `r = 4`.

    Example:
        >>> Logistic()(torch.tensor([[[0.25]]]), 0)
        tensor([[[0.7500]]])
    """

    dim = 1

    def __init__(self, r: Parameter = 4.0) -> None:
        super().__init__(r=r)

    def __call__(self, z: State, t: int) -> State:
        """The next state."""
        x = z[..., 0]
        return (self._parameter("r") * x * (1 - x)).unsqueeze(-1)

    def _starts(self, uniform: State) -> State:
        return 0.1 + 0.8 * uniform

    @property
    def exponents(self) -> tuple[float, ...] | None:
        """ln 2 at `r = 4`."""
        return (math.log(2),) if self._are(r=4.0) else None


class Tent(TextbookSystem):
    """`x <- slope min(x, 1 - x)` on [0, 1]; the exponent is ln slope exactly.

    Slope 2 is refused: every step shifts the binary digits of `x` one place to the left, so that
    a floating-point orbit is exactly 0 after some 55 steps. With any slope a little below, rounding
    fills new digits in.

    Raises:
        UserError: If a slope is not between 1 and 2 (exclusive).
    """

    dim = 1

    def __init__(self, slope: Parameter = 1.99) -> None:
        values = torch.as_tensor(slope)
        if not bool(((values > 1) & (values < 2)).all()):
            raise UserError(f"Tent: slope must be above 1 and below 2 (try 1.99), not {slope}")
        super().__init__(slope=slope)

    def __call__(self, z: State, t: int) -> State:
        """The next state."""
        x = z[..., 0]
        # Not torch.minimum: at a tie its derivative would be the mean of both branches.
        return (self._parameter("slope") * torch.where(x < 0.5, x, 1 - x)).unsqueeze(-1)

    def _starts(self, uniform: State) -> State:
        return 0.1 + 0.8 * uniform

    @property
    def exponents(self) -> tuple[float, ...] | None:
        """ln slope."""
        slope = self._parameters["slope"]
        return None if isinstance(slope, Tensor) else (math.log(slope),)


class Henon(TextbookSystem):
    """`x <- 1 - a x^2 + y`, `y <- b x`; the Jacobian determinant is -b everywhere.

    Exponents at (1.4, 0.3): 0.41922 and -1.62319 nats per step, their sum is ln 0.3 exactly.

    Source: Henon, Commun. Math. Phys. 50 (1976) 69; numbers: Sprott, Chaos and Time-Series
    Analysis (2003), appendix A.
    """

    dim = 2

    def __init__(self, a: Parameter = 1.4, b: Parameter = 0.3) -> None:
        super().__init__(a=a, b=b)

    def __call__(self, z: State, t: int) -> State:
        """The next state."""
        x, y = z.unbind(-1)
        return torch.stack([1 - self._parameter("a") * x * x + y, self._parameter("b") * x], -1)

    def _starts(self, uniform: State) -> State:
        return 0.1 * uniform

    @property
    def exponents(self) -> tuple[float, ...] | None:
        """Literature values at (1.4, 0.3)."""
        return (0.41922, -1.62319) if self._are(a=1.4, b=0.3) else None


class Lozi(TextbookSystem):
    """`x <- 1 - a |x| + y`, `y <- b x`: Henon with a corner instead of a parabola.

    Exponents at (1.7, 0.5): 0.47023 and -1.16338 nats per step, their sum is ln 0.5 exactly.

    Source: Lozi, J. Phys. Colloques 39 (1978) C5-9; numbers: Sprott 2003, appendix A.
    """

    dim = 2

    def __init__(self, a: Parameter = 1.7, b: Parameter = 0.5) -> None:
        super().__init__(a=a, b=b)

    def __call__(self, z: State, t: int) -> State:
        """The next state."""
        x, y = z.unbind(-1)
        return torch.stack([1 - self._parameter("a") * x.abs() + y, self._parameter("b") * x], -1)

    def _starts(self, uniform: State) -> State:
        return 0.1 * uniform

    @property
    def exponents(self) -> tuple[float, ...] | None:
        """Literature values at (1.7, 0.5)."""
        return (0.47023, -1.16338) if self._are(a=1.7, b=0.5) else None


class Ikeda(TextbookSystem):
    """Light in a ring cavity: `w <- 1 + u w exp(i (0.4 - 6 / (1 + |w|^2)))`, `w = x + i y`.

    The Jacobian determinant is `u^2` everywhere. Exponents at `u = 0.9`: 0.50760 and -0.71832 nats
    per step, their sum is 2 ln 0.9 exactly.

    Source: Ikeda, Opt. Commun. 30 (1979) 257; numbers: Sprott 2003, appendix A.
    """

    dim = 2

    def __init__(self, u: Parameter = 0.9) -> None:
        super().__init__(u=u)

    def __call__(self, z: State, t: int) -> State:
        """The next state."""
        x, y = z.unbind(-1)
        phase = 0.4 - 6 / (1 + x * x + y * y)
        cos, sin, u = phase.cos(), phase.sin(), self._parameter("u")
        return torch.stack([1 + u * (x * cos - y * sin), u * (x * sin + y * cos)], -1)

    def _starts(self, uniform: State) -> State:
        return 0.1 * uniform

    @property
    def exponents(self) -> tuple[float, ...] | None:
        """Literature values at `u = 0.9`."""
        return (0.50760, -0.71832) if self._are(u=0.9) else None


class CatMap(TextbookSystem):
    """`x <- 2 x + y`, `y <- x + y` modulo 1: uniformly hyperbolic, area-preserving.

    The exponents are the logarithms of the eigenvalues (3 +- sqrt 5) / 2 exactly. On doubles the
    map is a permutation of a lattice, so that orbits do not collapse.

    Source: Arnold & Avez, Ergodic Problems of Classical Mechanics (1968).
    """

    dim = 2
    transient = 0

    def __call__(self, z: State, t: int) -> State:
        """The next state."""
        x, y = z.unbind(-1)
        return torch.remainder(torch.stack([2 * x + y, x + y], -1), 1.0)

    def difference(self, a: Tensor, b: Tensor) -> Tensor:
        """`a - b` the short way round the torus."""
        return _short_way(a - b, 1.0)

    def _starts(self, uniform: State) -> State:
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

    def __call__(self, z: State, t: int) -> State:
        """The next state, coordinates `(x, p)`."""
        x, p = z.unbind(-1)
        kicked = p + self._parameter("k") * x.sin()
        return torch.remainder(torch.stack([x + kicked, kicked], -1), 2 * math.pi)

    def difference(self, a: Tensor, b: Tensor) -> Tensor:
        """`a - b` the short way round the torus."""
        return _short_way(a - b, 2 * math.pi)

    def _starts(self, uniform: State) -> State:
        return 2 * math.pi * uniform


def _short_way(difference: Tensor, period: float) -> Tensor:
    return difference - period * (difference / period).round()
