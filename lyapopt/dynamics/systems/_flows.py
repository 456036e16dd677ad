"""Flows, stepped by the classical Runge-Kutta method: Lorenz and Rossler."""

from __future__ import annotations

from abc import abstractmethod

import torch

from lyapopt.dynamics.maps import State
from lyapopt.dynamics.systems._textbook import Parameter, TextbookSystem


class Flow(TextbookSystem):
    """An autonomous ordinary differential equation `dz/ds = field(z)`, one step of size `dt`.

    Exponents are per step as everywhere: those of the flow (nats per unit time) times `dt`.

    Args:
        dt: Step size of the fourth-order Runge-Kutta method, in the time of the flow.
        parameters: Parameters of the field.
    """

    settling_time = 50.0
    spread_time = 25.0  # several turns

    def __init__(self, dt: float, **parameters: Parameter) -> None:
        super().__init__(**parameters)
        self.dt = dt
        self.transient = int(self.settling_time / dt)
        self.spread = int(self.spread_time / dt)

    @abstractmethod
    def field(self, z: State) -> State:
        """The velocity at `z`."""

    def __call__(self, z: State, t: int) -> State:
        """The state a time `dt` later, with a local error of order `dt^5`."""
        k1 = self.field(z)
        k2 = self.field(z + 0.5 * self.dt * k1)
        k3 = self.field(z + 0.5 * self.dt * k2)
        k4 = self.field(z + self.dt * k3)
        return z + self.dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


class Lorenz(Flow):
    """Convection: `x' = sigma (y - x)`, `y' = x (rho - z) - y`, `z' = x y - beta z`.

    Exponents at (10, 28, 8/3): 0.9056, 0, -14.5723 nats per unit time; the divergence of the field,
    and so their sum, is `-(sigma + 1 + beta)` everywhere.

    Source: Lorenz, J. Atmos. Sci. 20 (1963) 130; numbers: Sprott 2003, appendix A.
    """

    dim = 3

    def __init__(
        self,
        sigma: Parameter = 10.0,
        rho: Parameter = 28.0,
        beta: Parameter = 8 / 3,
        dt: float = 0.01,
    ) -> None:
        super().__init__(dt, sigma=sigma, rho=rho, beta=beta)

    def field(self, z: State) -> State:
        """The velocity."""
        x, y, height = z.unbind(-1)
        return torch.stack(
            [
                self._parameter("sigma") * (y - x),
                x * (self._parameter("rho") - height) - y,
                x * y - self._parameter("beta") * height,
            ],
            -1,
        )

    def _starts(self, uniform: State) -> State:
        return torch.tensor([1.0, 1.0, 20.0], dtype=uniform.dtype) + uniform

    @property
    def exponents(self) -> tuple[float, ...] | None:
        """Literature values at (10, 28, 8/3), times `dt`."""
        if not self._are(sigma=10.0, rho=28.0, beta=8 / 3):
            return None
        return (0.9056 * self.dt, 0.0, -14.5723 * self.dt)


class Rossler(Flow):
    """One nonlinearity: `x' = -y - z`, `y' = x + a y`, `z' = b + z (x - c)`.

    Exponents at (0.2, 0.2, 5.7): 0.0714, 0, -5.3943 nats per unit time.

    Source: Rossler, Phys. Lett. A 57 (1976) 397; numbers: Sprott 2003, appendix A.
    """

    dim = 3
    settling_time = 200.0

    def __init__(
        self, a: Parameter = 0.2, b: Parameter = 0.2, c: Parameter = 5.7, dt: float = 0.05
    ) -> None:
        super().__init__(dt, a=a, b=b, c=c)

    def field(self, z: State) -> State:
        """The velocity."""
        x, y, height = z.unbind(-1)
        growth = self._parameter("b") + height * (x - self._parameter("c"))
        return torch.stack([-y - height, x + self._parameter("a") * y, growth], -1)

    def _starts(self, uniform: State) -> State:
        return 2 * uniform

    @property
    def exponents(self) -> tuple[float, ...] | None:
        """Literature values at (0.2, 0.2, 5.7), times `dt`."""
        if not self._are(a=0.2, b=0.2, c=5.7):
            return None
        return (0.0714 * self.dt, 0.0, -5.3943 * self.dt)
