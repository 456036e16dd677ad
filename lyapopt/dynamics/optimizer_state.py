"""The state of any `torch.optim` object as a flat vector, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lyapopt.errors import NotStackableError

Entry = tuple[int, str, type, torch.Size, torch.dtype | None]
"""Position of the parameter, name, kind, shape and dtype of one item of an optimiser's state."""


@dataclass(frozen=True)
class OptimizerLayout:
    """What an optimiser keeps for every parameter once it has made a step.

    Attributes:
        entries: Its numbers and tensors, in order.
        constants: What else it keeps, by position of the parameter and name.
    """

    entries: tuple[Entry, ...]
    constants: tuple[tuple[int, str, Any], ...]

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> OptimizerLayout:
        """The layout of an optimiser that has made a step.

        Raises:
            NotStackableError: If it keeps what no vector can hold.
        """
        known = set(map(id, parameters))
        if any(id(key) not in known for key in optimizer.state if isinstance(key, Tensor)) or any(
            not isinstance(key, Tensor) for key in optimizer.state
        ):
            raise NotStackableError(
                f"the optimizer {type(optimizer).__name__} keeps state that belongs to no "
                "parameter, so that no neighbour can have its own"
            )
        entries: list[Entry] = []
        constants = []
        for position, parameter in enumerate(parameters):
            for name, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    entries.append((position, name, Tensor, value.shape, value.dtype))
                elif type(value) in (int, float, bool):
                    entries.append((position, name, type(value), torch.Size(()), None))
                elif value is None or isinstance(value, str):
                    constants.append((position, name, value))
                else:
                    raise NotStackableError(
                        f"the optimizer {type(optimizer).__name__} keeps {name}, a "
                        f"{type(value).__name__}, which is neither tensor nor number"
                    )
        return cls(tuple(entries), tuple(constants))

    @property
    def sizes(self) -> list[int]:
        """Numbers of every entry."""
        return [shape.numel() for _, _, _, shape, _ in self.entries]

    def read(
        self, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], like: Tensor
    ) -> list[Tensor]:
        """The entries as vectors of the dtype of `like`; zeros where there are none yet."""
        found = []
        for position, name, _, shape, _ in self.entries:
            value = optimizer.state.get(parameters[position], {}).get(name, 0)
            if not isinstance(value, Tensor):
                value = like.new_full(shape, float(value))
            found.append(value.detach().to(like).reshape(-1))
        return found

    def write(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[Tensor],
        values: Sequence[Tensor],
    ) -> None:
        """Give the optimiser the state of `values`."""
        optimizer.state.clear()
        for position, name, constant in self.constants:
            optimizer.state[parameters[position]][name] = constant
        for (position, name, kind, shape, dtype), value in zip(self.entries, values, strict=True):
            state = optimizer.state[parameters[position]]
            if kind is Tensor:
                kept = value.view(shape).to(dtype=dtype, copy=True)
                # Step counts lie on the CPU in most optimisers, whatever the parameters lie on.
                state[name] = kept.cpu() if name == "step" else kept
            else:
                state[name] = kind(value.item())
