"""Maps of the plane: Henon, Lozi, Ikeda."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapopt.dynamics.systems._textbook import Parameter, TextbookSystem


class Henon(TextbookSystem):
    """`x <- 1 - a x^2 + y`, `y <- b x`; the Jacobian determinant is -b everywhere.

    Exponents at (1.4, 0.3): 0.41922 and -1.62319 nats per step, their sum is ln 0.3 exactly.

    Source: Henon, Commun. Math. Phys. 50 (1976) 69; numbers: Sprott, Chaos and Time-Series
    Analysis (2003), appendix A.
    """

    dim = 2

    def __init__(self, a: Parameter = 1.4, b: Parameter = 0.3) -> None:
        super().__init__(a=a, b=b)

    def __call__(self, z: Tensor, t: int) -> Tensor:
        """The next state."""
        x, y = z.unbind(-1)
        return torch.stack([1 - self._parameter("a") * x * x + y, self._parameter("b") * x], -1)

    def _starts(self, uniform: Tensor) -> Tensor:
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

    def __call__(self, z: Tensor, t: int) -> Tensor:
        """The next state."""
        x, y = z.unbind(-1)
        return torch.stack([1 - self._parameter("a") * x.abs() + y, self._parameter("b") * x], -1)

    def _starts(self, uniform: Tensor) -> Tensor:
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

    def __call__(self, z: Tensor, t: int) -> Tensor:
        """The next state."""
        x, y = z.unbind(-1)
        phase = 0.4 - 6 / (1 + x * x + y * y)
        cos, sin, u = phase.cos(), phase.sin(), self._parameter("u")
        return torch.stack([1 + u * (x * cos - y * sin), u * (x * sin + y * cos)], -1)

    def _starts(self, uniform: Tensor) -> Tensor:
        return 0.1 * uniform

    @property
    def exponents(self) -> tuple[float, ...] | None:
        """Literature values at `u = 0.9`."""
        return (0.50760, -0.71832) if self._are(u=0.9) else None
