"""What all textbook systems share: parameters per system, and states on the attractor."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float64
from torch import Tensor

from lyapopt.dynamics.maps import State
from lyapopt.dynamics.randomness import generator
from lyapopt.errors import UserError

Parameter = float | Tensor
"""One value for all systems, or a tensor `(systems,)`."""


class TextbookSystem(ABC):
    """A map `step(z, t) -> z` on `(systems, trajectories, dim)` whose exponents are known.

    Args:
        parameters: The values that may differ between systems, by name.

    Attributes:
        dim: Number of coordinates.
        transient: Steps after which `initial_state` takes the orbit to be on the attractor.
        spread: Steps over which the starts of the orbits are spread, for systems that keep their
            phase for long: orbits of one start would all stand at the same place of the attractor.

    Raises:
        UserError: If a parameter has more than one axis, or two have different lengths.
    """

    dim: int
    transient: int = 1000
    spread: int = 0

    def __init__(self, **parameters: Parameter) -> None:
        self._parameters = parameters
        lengths = set()
        for name, value in parameters.items():
            if isinstance(value, Tensor) and value.dim() > 0:
                if value.dim() > 1:
                    raise UserError(
                        f"{type(self).__name__}: {name} must be a number or a tensor (systems,), "
                        f"not of shape {tuple(value.shape)}"
                    )
                lengths.add(len(value))
        if len(lengths) > 1:
            raise UserError(
                f"{type(self).__name__}: parameters are given for {sorted(lengths)} systems"
            )
        self._systems = lengths.pop() if lengths else None

    @abstractmethod
    def __call__(self, z: State, t: int) -> State:
        """The next state."""

    @abstractmethod
    def _starts(self, uniform: State) -> State:
        """Points in the basin of the attractor from as many numbers in [0, 1)."""

    @property
    def exponents(self) -> tuple[float, ...] | None:
        """All exponents for these parameters, descending, nats per step; `None` if unknown."""
        return None

    def initial_state(self, systems: int = 1, seed: int = 0) -> Float64[Tensor, "systems 1 dim"]:
        """Different points on (or near) the attractor.

        Args:
            systems: How many; parameters that are tensors `(systems,)` say it themselves.
            seed: Where the points start from, before a transient of `transient` steps.

        Raises:
            UserError: If `systems` is not positive, or neither 1 nor the length of the parameters.
        """
        if self._systems is not None and systems not in (1, self._systems):
            raise UserError(
                f"{type(self).__name__}: {systems} systems were asked for, but the parameters are "
                f"given for {self._systems}"
            )
        if systems < 1:
            raise UserError(f"{type(self).__name__}: systems must be positive, not {systems}")
        count = systems if self._systems is None else self._systems
        draws = [generator(seed, row, "start") for row in range(count)]
        rows = [torch.rand(1, self.dim, dtype=torch.float64, generator=draw) for draw in draws]
        waits = [int(torch.randint(self.spread + 1, (), generator=draw)) for draw in draws]
        begins = torch.tensor(waits).view(-1, 1, 1) - self.transient - self.spread
        z = self._starts(torch.stack(rows))
        for t in range(int(begins.min()), 0):
            z = torch.where(t < begins, z, self(z, t))
        return z

    def _parameter(self, name: str) -> Parameter:
        """A parameter in a shape that broadcasts with one coordinate `(systems, trajectories)`."""
        value = self._parameters[name]
        return value.unsqueeze(-1) if isinstance(value, Tensor) and value.dim() == 1 else value

    def _are(self, **values: float) -> bool:
        """Whether the parameters are plain numbers with these values."""
        return all(
            not isinstance(self._parameters[name], Tensor) and self._parameters[name] == value
            for name, value in values.items()
        )
