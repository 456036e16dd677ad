"""Stacks whose rows differ in their activations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lyapopt.dynamics.gradients.rowwise import Rows
from lyapopt.dynamics.structure import activations, module_structure

_KEPT = 64  # arrangements of rows that are remembered


class RowwiseActivation(nn.Module):
    """An activation of its own for every row.

    Args:
        choices: The activations that there are.

    Attributes:
        choice: Position of a row's activation in `choices`, an int64 scalar or a stack of them.
    """

    choice: Any

    def __init__(self, choices: Sequence[nn.Module]) -> None:
        super().__init__()
        self.choices = list(choices)  # no submodules: their names would change with the stack
        self.register_buffer("choice", torch.zeros((), dtype=torch.int64))
        self._arrangements: dict[int, tuple[Tensor, _Arrangement]] = {}

    def forward(self, x: Tensor | Rows) -> Tensor | Rows:
        """The activations of one row (under `vmap` or not), or of all rows of a stack."""
        if type(x) is Rows:
            return Rows(self._arrangement(self.choice.data).apply(self.choices, x.data))
        if not torch._C._are_functorch_transforms_active():
            own: Tensor = self.choices[int(self.choice)](x)
            return own
        y: Tensor = self.choices[0](x)
        for index, activation in enumerate(self.choices[1:], start=1):
            y = torch.where(self.choice == index, activation(x), y)
        return y

    def _arrangement(self, choice: Tensor) -> _Arrangement:
        known = self._arrangements.get(id(choice))
        if known is None:
            if len(self._arrangements) >= _KEPT:
                self._arrangements.clear()
            # The tensor is kept with it, so that no other one gets its address.
            known = self._arrangements[id(choice)] = choice, _Arrangement(choice)
        return known[1]


class _Arrangement:
    """Rows of equal activation brought together, if they are not.

    Args:
        choice: Position of every row's activation, `(rows,)`.
    """

    def __init__(self, choice: Tensor) -> None:
        sequence, counts = torch.unique_consecutive(choice, return_counts=True)
        self._order: Tensor | None = None
        if len(sequence) > len(torch.unique(sequence)):
            self._order = torch.argsort(choice, stable=True)
            self._back = torch.argsort(self._order)
            sequence, counts = torch.unique_consecutive(choice[self._order], return_counts=True)
        self._choices: list[int] = sequence.tolist()
        self._counts: list[int] = counts.tolist()

    def apply(self, choices: Sequence[nn.Module], x: Tensor) -> Tensor:
        """Every row through its own choice; the layout in memory stays as it is."""
        axis = x.dim() - 1 if x.stride(0) == 1 else 0
        x = x.movedim(0, axis)
        if self._order is not None:
            x = x.index_select(axis, self._order)
        parts = zip(self._choices, torch.split(x, self._counts, axis), strict=True)
        y = torch.cat([choices[index](part) for index, part in parts], axis)
        if self._order is not None:
            y = y.index_select(axis, self._back)
        return y.movedim(axis, 0)


def with_choices(
    template: nn.Module, models: Sequence[nn.Module]
) -> tuple[nn.Module, dict[str, Tensor]]:
    """A template in which activations that differ are chosen by row.

    Args:
        template: A copy of the first model, changed in place.
        models: One a system, equal but for their activations.

    Returns:
        The template, and the choices `(systems,)` of every such activation by the name of its
        buffer.
    """
    by_model = [dict(activations(model)) for model in models]
    choices: dict[str, Tensor] = {}
    for name in by_model[0]:
        own = [found[name] for found in by_model]
        keys = [module_structure(part) for part in own]
        distinct = list(dict.fromkeys(keys))
        if len(distinct) > 1:
            copies = [copy.deepcopy(own[keys.index(key)]) for key in distinct]
            path, _, last = name.rpartition(".")
            setattr(template.get_submodule(path), last, RowwiseActivation(copies))
            choices[f"{name}.choice"] = torch.tensor([distinct.index(key) for key in keys])
    return template, choices
