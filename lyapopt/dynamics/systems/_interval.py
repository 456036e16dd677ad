"""Maps of the interval: logistic and tent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

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

    def __call__(self, z: Tensor, t: int) -> Tensor:
        """The next state."""
        x = z[..., 0]
        return (self._parameter("r") * x * (1 - x)).unsqueeze(-1)

    def _starts(self, uniform: Tensor) -> Tensor:
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

    def __call__(self, z: Tensor, t: int) -> Tensor:
        """The next state."""
        x = z[..., 0]
        # Not torch.minimum: at a tie its derivative would be the mean of both branches.
        return (self._parameter("slope") * torch.where(x < 0.5, x, 1 - x)).unsqueeze(-1)

    def _starts(self, uniform: Tensor) -> Tensor:
        return 0.1 + 0.8 * uniform

    @property
    def exponents(self) -> tuple[float, ...] | None:
        """ln slope."""
        slope = self._parameters["slope"]
        return None if isinstance(slope, Tensor) else (math.log(slope),)
