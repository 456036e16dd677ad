"""Putting tensors into a module tree without `functional_call`: one dictionary entry each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


class Binding:
    """Where the parameters and buffers of a module tree are kept, by their names.

    Args:
        model: A template of our own: what is bound stays in it until the next call.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._places: dict[str, list[tuple[dict[str, Any], str]]] = {}
        names: dict[int, str] = {}
        for prefix, part in model.named_modules():
            for tensors in (part._parameters, part._buffers):
                for last, tensor in tensors.items():
                    if tensor is not None:
                        name = f"{prefix}.{last}".lstrip(".")
                        first = names.setdefault(id(tensor), name)  # a tied one has several places
                        self._places.setdefault(first, []).append((tensors, last))
        self._recurrent = [part for part in model.modules() if isinstance(part, nn.RNNBase)]

    def bind(self, tensors: Mapping[str, Any]) -> None:
        """Let the modules see other tensors (or stacks) under their names."""
        for name, tensor in tensors.items():
            for owner, last in self._places[name]:
                owner[last] = tensor
        for part in self._recurrent:  # keeps a second list of its weights
            part._flat_weights = [part._parameters.get(n) for n in part._flat_weights_names]
