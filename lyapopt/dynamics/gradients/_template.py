"""What all ways to compute gradients start from: a module tree, and where its tensors come from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lyapopt.dynamics.gradients._activations import with_choices
from lyapopt.dynamics.system import System


class Template:
    """The model of a stack without values, and the tensors that no update changes.

    Args:
        systems: Systems of equal structure.

    Attributes:
        model: A module tree that every call brings the tensors of. Where activations differ, a row
            chooses its own.
        loss_fn: The loss of all systems.
        needs_layers: Whether the model has to run in `DeterministicLayers`.
        weights: Where the trained parameters lie in a row of weights.
        buffers: Where the moving buffers lie in a row of buffers.
        shared: Fixed tensors that all systems have in common, by name.
        stacked: Other fixed tensors by name, each `(systems, ...)`.
        keys: Seeds of the systems, `(systems,)`.
        flat: Weights of the first system, `(P,)`.
        has_fixed_tensors: Whether the model reads tensors that are not in the state.
        arrangement: Which system has which activation, where they differ.
    """

    def __init__(self, systems: Sequence[System]) -> None:
        first = systems[0]
        models = [system.training.model for system in systems]
        self.model, choices = with_choices(_without_parameters(models[0]), models)
        self.loss_fn = first.training.loss_fn
        self.needs_layers = first.trace.needs_layers
        self.weights = Pieces(first, first.trace.weight_names)
        self.buffers = Pieces(first, first.trace.buffer_names)
        self.flat = first.flat_weights()
        self.shared, self.stacked = _fixed_tensors(systems)
        self.has_fixed_tensors = bool(self.shared or self.stacked)
        device = self.flat.device
        self.stacked.update((name, choice.to(device)) for name, choice in choices.items())
        self.arrangement = tuple((name, tuple(c.tolist())) for name, c in choices.items())
        seeds = [system.training.seed & (2**63 - 1) for system in systems]
        self.keys = torch.tensor(seeds, dtype=torch.int64, device=device)
        self._counters = {name: first.tensor(name).clone() for name in first.trace.counter_names}

    def select(self, systems: Sequence[System], rows: Sequence[int]) -> Template:
        """The template of some of the systems.

        Args:
            systems: Those systems.
            rows: Their places in the stack.
        """
        arrangement = tuple((n, tuple(own[row] for row in rows)) for n, own in self.arrangement)
        pairs = zip(self.arrangement, arrangement, strict=True)
        if systems[0].fixed_names or any(set(a) != set(b) for (_, a), (_, b) in pairs):
            return Template(systems)  # some may share what all together do not
        chosen = copy.copy(self)
        places = torch.tensor(rows, device=self.keys.device)
        chosen.flat = systems[0].flat_weights()
        chosen.stacked = {name: choice[places] for name, choice in self.stacked.items()}
        chosen.arrangement = arrangement
        chosen.keys = self.keys[places]
        return chosen

    def counters(self, t: int) -> dict[str, Tensor]:
        """The integer buffers that every forward pass counts up, at time `t`."""
        return {name: counter + t for name, counter in self._counters.items()}


class Pieces:
    """Where named tensors of a system lie in its flat vector; all results are views.

    Args:
        system: Where shapes are read from.
        names: Parameters or buffers, in the order of the vector.
    """

    def __init__(self, system: System, names: tuple[str, ...]) -> None:
        self.names = names
        tensors = [system.tensor(name) for name in names]
        self.shapes = [tensor.shape for tensor in tensors]
        self._sizes = [tensor.numel() for tensor in tensors]

    def of(self, flat: Float[Tensor, " numbers"]) -> dict[str, Tensor]:
        """Tensors of one vector."""
        parts = torch.split(flat, self._sizes) if self._sizes else ()
        return {n: p.view(s) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}

    def stacks(self, flat: Float[Tensor, "rows numbers"]) -> dict[str, Tensor]:
        """Tensors `(rows, *shape)` of a stack of vectors."""
        parts = torch.split(flat, self._sizes, 1) if self._sizes else ()
        return {
            name: part.view(-1, *shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def innermost(self, flat: Float[Tensor, "numbers rows"]) -> dict[str, Tensor]:
        """Tensors `(rows, *shape)` with rows innermost, of vectors as columns."""
        parts = torch.split(flat, self._sizes) if self._sizes else ()
        return {
            name: part.view(*shape, -1).movedim(-1, 0)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }


class Binding:
    """A copy of a module tree whose tensors are replaced by name, one dictionary entry each.

    `torch.func.functional_call` does the same and puts all back after every call, which takes
    longer than the forward pass of a small model.

    Args:
        model: What is bound stays in the copy until the next call.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model)
        self._places: dict[str, list[tuple[dict[str, Any], str]]] = {}
        names: dict[int, str] = {}
        for prefix, part in self.model.named_modules():
            for tensors in (part._parameters, part._buffers):
                for last, tensor in tensors.items():
                    if tensor is not None:
                        name = f"{prefix}.{last}".lstrip(".")
                        first = names.setdefault(id(tensor), name)  # a tied one has several places
                        self._places.setdefault(first, []).append((tensors, last))
        self._recurrent = [part for part in self.model.modules() if isinstance(part, nn.RNNBase)]

    def bind(self, tensors: Mapping[str, object]) -> None:
        """Let the modules see other tensors (or stacks) under their names."""
        for name, tensor in tensors.items():
            for owner, last in self._places[name]:
                owner[last] = tensor
        for part in self._recurrent:  # keeps a second list of its weights
            part._flat_weights = [part._parameters.get(n) for n in part._flat_weights_names]


def _fixed_tensors(systems: Sequence[System]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What no update changes: first what all systems share, then what is stacked over them."""
    shared, stacked = {}, {}
    for name in systems[0].fixed_names:
        values = [system.tensor(name) for system in systems]
        if all(value is values[0] or torch.equal(value, values[0]) for value in values[1:]):
            shared[name] = values[0]
        else:
            stacked[name] = torch.stack(values)
    return shared, stacked


def _without_parameters(model: nn.Module) -> nn.Module:
    """A copy of the module tree whose parameters take no memory."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
    return copy.deepcopy(model, memo)
