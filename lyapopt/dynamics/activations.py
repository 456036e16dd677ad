"""Stacks whose rows differ in their activations.

A search over activations would fall apart into small stacks, though all else is equal. Plain
`nn.Sequential` models of torch's own layers therefore stack across activations: each row has its
own at the same place.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lyapopt.dynamics.rowwise import Rows
from lyapopt.dynamics.structure import module_structure

_ELEMENTWISE = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Identity,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Mish,
    nn.ReLU,
    nn.ReLU6,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
)
_KEPT = 64  # arrangements of rows that are remembered


class RowwiseActivation(nn.Module):
    """An activation of its own for every row.

    Args:
        choices: The activations that there are.
    """

    kind: Any

    def __init__(self, choices: Sequence[nn.Module]) -> None:
        super().__init__()
        self.choices = list(choices)  # no submodules: their names would change with the stack
        self.register_buffer("kind", torch.zeros((), dtype=torch.int64))
        self._arrangements: dict[int, tuple[Any, _Arrangement]] = {}

    def forward(self, x: Any) -> Any:
        """Of one row by itself, of one row under `vmap`, or of `Rows`."""
        if type(x) is not Rows:
            return self._of_row(x)
        arrangement = self._arrangement(self.kind.data)
        return Rows(arrangement.apply(self.choices, x.data))

    def _of_row(self, x: Tensor) -> Tensor:
        if not torch._C._are_functorch_transforms_active():
            own: Tensor = self.choices[int(self.kind)](x)
            return own
        y: Tensor = self.choices[0](x)
        for index, choice in enumerate(self.choices[1:], start=1):
            y = torch.where(self.kind == index, choice(x), y)
        return y

    def _arrangement(self, kinds: Tensor) -> _Arrangement:
        known = self._arrangements.get(id(kinds))
        if known is None:
            if len(self._arrangements) >= _KEPT:
                self._arrangements.clear()
            # The tensor is kept with it, so that no other one gets its address.
            known = self._arrangements[id(kinds)] = kinds, _Arrangement(kinds)
        return known[1]


class _Arrangement:
    """Rows of equal activation brought together, if they are not."""

    def __init__(self, kinds: Tensor) -> None:
        sequence, counts = torch.unique_consecutive(kinds, return_counts=True)
        self._order: Tensor | None = None
        if len(sequence) > len(torch.unique(sequence)):
            self._order = torch.argsort(kinds, stable=True)
            self._back = torch.argsort(self._order)
            sequence, counts = torch.unique_consecutive(kinds[self._order], return_counts=True)
        self._kinds: list[int] = sequence.tolist()
        self._counts: list[int] = counts.tolist()

    def apply(self, choices: Sequence[nn.Module], x: Tensor) -> Tensor:
        """Every row through its own choice; the layout in memory stays as it is."""
        axis = x.dim() - 1 if x.stride(0) == 1 else 0
        x = x.movedim(0, axis)
        if self._order is not None:
            x = x.index_select(axis, self._order)
        parts = zip(self._kinds, torch.split(x, self._counts, axis), strict=True)
        y = torch.cat([choices[kind](part) for kind, part in parts], axis)
        if self._order is not None:
            y = y.index_select(axis, self._back)
        return y.movedim(axis, 0)


def structure_across_activations(model: nn.Module) -> Hashable:
    """A key that is equal for models that can share a stack: activations do not count."""
    own = [part for _, part in activations(model)]
    return len(own), module_structure(model, but=own)


def activations(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Activations that may differ between rows, by name."""
    parts = list(model.named_modules(remove_duplicate=False))
    if len({id(part) for _, part in parts}) < len(parts) or not all(
        type(part) is nn.Sequential or _is_leaf_of_torch(part) for _, part in parts
    ):
        return
    for name, part in parts:
        if name and type(part) in _ELEMENTWISE and not getattr(part, "inplace", False):
            yield name, part


def with_choices(
    template: nn.Module, models: Sequence[nn.Module]
) -> tuple[nn.Module, dict[str, Tensor]]:
    """A template in which activations that differ are chosen by row.

    Args:
        template: A copy of the first model, changed in place.
        models: One a system, equal but for their activations.

    Returns:
        The template, and for every choice the name of its buffer and the kinds `(systems,)`.
    """
    by_model = [dict(activations(model)) for model in models]
    kinds: dict[str, Tensor] = {}
    for name in by_model[0]:
        own = [found[name] for found in by_model]
        keys = [module_structure(part) for part in own]
        distinct = list(dict.fromkeys(keys))
        if len(distinct) > 1:
            choices = [copy.deepcopy(own[keys.index(key)]) for key in distinct]
            _set_module(template, name, RowwiseActivation(choices))
            kinds[f"{name}.kind"] = torch.tensor([distinct.index(key) for key in keys])
    return template, kinds


def _is_leaf_of_torch(part: nn.Module) -> bool:
    hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks)
    is_own = type(part).__module__.startswith("torch.nn.modules.")
    return is_own and not any(part.children()) and not any(hooks) and "forward" not in vars(part)


def _set_module(model: nn.Module, name: str, part: nn.Module) -> None:
    path, _, last = name.rpartition(".")
    setattr(model.get_submodule(path), last, part)
