"""The forward and the backward pass of a stack of perceptrons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lyapopt.dynamics.batches import Batch
from lyapopt.dynamics.gradients._activations import RowwiseActivation
from lyapopt.dynamics.gradients._template import Template
from lyapopt.dynamics.gradients.perceptron._activations import Kernel, kernel_of
from lyapopt.dynamics.gradients.perceptron._hooks import is_plain
from lyapopt.dynamics.gradients.perceptron._losses import RowLosses, row_losses_of
from lyapopt.dynamics.system import System

_KEPT = 16  # workspaces, each for a number of rows and their activations


class _Layer(NamedTuple):
    """A linear layer and what follows it.

    Attributes:
        inputs, outputs: Its units.
        has_bias: Whether it has a bias, which follows the weight in a row of weights.
        kernels: The activations that rows have, none where the layer has none.
        choice: The name of the buffer that says which row has which; `None` if all have one.
    """

    inputs: int
    outputs: int
    has_bias: bool
    kernels: tuple[Kernel, ...]
    choice: str | None


def recognised(template: Template, systems: Sequence[System]) -> PerceptronPasses | None:
    """The passes of a stack if its model is a perceptron with a loss that is known here."""
    names = template.weights.names
    layers = _layers_of(template.model, names)
    if not layers or template.shared or template.needs_layers or template.buffers.names:
        return None
    if sum(1 + layer.has_bias for layer in layers) != len(names):
        return None
    if set(template.stacked) != {layer.choice for layer in layers} - {None}:
        return None
    examples = [system.examples.tensors for system in systems]
    if any(len(tensors) != 2 or not _fits(tensors[0], layers[0].inputs) for tensors in examples):
        return None
    targets = [tensors[1] for tensors in examples]
    losses = row_losses_of(template.loss_fn, targets, layers[-1].outputs)
    numbers = [t for tensors in examples for t in tensors if t.is_floating_point()]
    if losses is None or any(t.dtype != template.flat.dtype for t in numbers):
        return None
    return PerceptronPasses(template, layers, losses)


def _fits(inputs: Tensor, units: int) -> bool:
    return inputs.is_floating_point() and inputs.dim() >= 2 and inputs[0].numel() == units


def _layers_of(model: nn.Module, names: Sequence[str]) -> list[_Layer] | None:
    """The layers of a model, `None` if it has any part that is not known here."""
    parts = _parts_of(model, "")
    if parts is None:
        return None
    if parts and type(parts[0][1]) is nn.Flatten and parts[0][1].start_dim == 1:
        parts = parts[1:] if parts[0][1].end_dim == -1 else parts
    layers: list[_Layer] = []
    expected: list[str] = []
    for name, part in parts:
        if type(part) is nn.Linear:
            layers.append(
                _Layer(part.in_features, part.out_features, part.bias is not None, (), None)
            )
            expected += [f"{name}.weight".lstrip("."), f"{name}.bias".lstrip(".")][
                : 1 + layers[-1].has_bias
            ]
            continue
        kernels, choice = _activation(name, part)
        if not layers or layers[-1].kernels or kernels is None:
            return None
        layers[-1] = layers[-1]._replace(kernels=kernels, choice=choice)
    return layers if expected == list(names) else None


def _parts_of(model: nn.Module, prefix: str) -> list[tuple[str, nn.Module]] | None:
    """What a sequence runs, in order; a lone layer is a sequence of itself."""
    if not is_plain(model):
        return None
    if type(model) is not nn.Sequential:
        return [(prefix, model)]
    found: list[tuple[str, nn.Module]] = []
    for name, part in model._modules.items():
        inner = None if part is None else _parts_of(part, f"{prefix}.{name}".lstrip("."))
        if inner is None:
            return None
        found += inner
    return found


def _activation(name: str, part: nn.Module) -> tuple[tuple[Kernel, ...] | None, str | None]:
    if type(part) is not RowwiseActivation:
        kernel = kernel_of(part)
        return (None if kernel is None else (kernel,)), None
    kernels = [kernel_of(choice) for choice in part.choices]
    known = tuple(kernel for kernel in kernels if kernel is not None)
    return (known if len(known) == len(kernels) else None), f"{name}.choice"


class _Workspace:
    """Memory of a pass over so many rows, and which of them have which activation.

    Args:
        layers: The layers.
        rows: How many rows.
        batch: Examples of each.
        like: A tensor of their dtype and device.
        choices: Which row has which activation, by the name of the buffer.
    """

    def __init__(
        self,
        layers: Sequence[_Layer],
        rows: int,
        batch: int,
        like: Tensor,
        choices: Mapping[str, Tensor],
    ) -> None:
        self.choices = choices  # kept, so that no other tensors get their addresses
        self.y = [like.new_empty(rows, batch, layer.outputs) for layer in layers]
        self.d = [like.new_empty(rows, batch, layer.outputs) for layer in layers]
        self.runs = [
            [
                _Run(layer.kernels[kernel], y[start:stop], d[start:stop])
                for kernel, start, stop in _runs(layer, choices, rows)
            ]
            for layer, y, d in zip(layers, self.y, self.d, strict=True)
        ]


class _Run:
    """Neighbouring rows with one activation.

    Args:
        kernel: The activation.
        y: Memory of its inputs, and then of its outputs.
        d: Memory of the derivative in its outputs, and then in its inputs.
    """

    def __init__(self, kernel: Kernel, y: Tensor, d: Tensor) -> None:
        self._kernel, self._y, self._d = kernel, y, d
        self._kept = torch.empty_like(y) if kernel.reads_input else y

    def forward(self) -> None:
        """From inputs to outputs."""
        if self._kept is not self._y:
            self._kept.copy_(self._y)
        self._kernel.forward(self._y)

    def backward(self) -> None:
        """From the derivative in the outputs to that in the inputs."""
        self._kernel.backward(self._d, self._kept)


def _runs(layer: _Layer, choices: Mapping[str, Tensor], rows: int) -> list[tuple[int, int, int]]:
    """Neighbouring rows of one activation: which, from where, and to where."""
    if not layer.kernels:
        return []
    if layer.choice is None:
        return [(0, 0, rows)]
    values, counts = torch.unique_consecutive(choices[layer.choice], return_counts=True)
    found, start = [], 0
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        found.append((value, start, start + count))
        start += count
    return found


class PerceptronPasses:
    """Losses and gradients of all rows; every row is computed as if it were alone.

    Args:
        template: The model of the stack.
        layers: Its layers.
        losses: Its loss.
    """

    def __init__(self, template: Template, layers: Sequence[_Layer], losses: RowLosses) -> None:
        self._layers = list(layers)
        self._losses = losses
        self._sizes = [
            size
            for layer in layers
            for size in (layer.inputs * layer.outputs, layer.outputs)[: 1 + layer.has_bias]
        ]
        self._workspaces: dict[tuple[int, int, tuple[int, ...]], _Workspace] = {}

    @property
    def numbers_per_example(self) -> int:
        """Numbers that an example of a row takes in memory."""
        return sum(layer.outputs * (3 if layer.kernels else 2) for layer in self._layers)

    @torch.no_grad()
    def __call__(
        self, w: Tensor, batch: Batch, choices: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Gradients `(rows, P)` and losses `(rows,)`.

        Args:
            w: Weights, rows outermost in memory.
            batch: Inputs and targets.
            choices: Which row has which activation, by the name of the buffer.
        """
        rows, (inputs, target) = len(w), batch.tensors
        x = inputs.flatten(1).expand(rows, -1, -1) if batch.is_shared else inputs.flatten(2)
        space = self._workspace(rows, x, choices)
        weights = self._split(w)
        self._forward(x, weights, space)
        losses = self._losses(space.y[-1], target, space.d[-1])
        g = torch.empty_like(w)
        self._backward(x, weights, self._split(g), space)
        return g, losses

    @torch.no_grad()
    def outputs(self, w: Tensor, x: Tensor, choices: Mapping[str, Tensor]) -> Tensor:
        """Outputs `(rows, batch, units)` for inputs `(batch, ...)` that all rows share."""
        inputs = x.flatten(1).expand(len(w), -1, -1)
        space = _Workspace(self._layers, len(w), len(x), inputs, choices)
        self._forward(inputs, self._split(w), space)
        return space.y[-1]

    def _workspace(self, rows: int, x: Tensor, choices: Mapping[str, Tensor]) -> _Workspace:
        key = rows, x.shape[1], tuple(map(id, choices.values()))
        if key not in self._workspaces:
            if len(self._workspaces) >= _KEPT:
                self._workspaces.clear()
            self._workspaces[key] = _Workspace(self._layers, rows, x.shape[1], x, choices)
        return self._workspaces[key]

    def _split(self, flat: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """Weights `(rows, out, in)` and biases `(rows, out)` of every layer, as views."""
        parts = iter(torch.split_with_sizes(flat, self._sizes, 1))
        return [
            (
                next(parts).view(-1, layer.outputs, layer.inputs),
                next(parts) if layer.has_bias else None,
            )
            for layer in self._layers
        ]

    def _forward(
        self, x: Tensor, weights: Sequence[tuple[Tensor, Tensor | None]], space: _Workspace
    ) -> None:
        for (weight, bias), y, runs in zip(weights, space.y, space.runs, strict=True):
            if bias is None:
                torch.bmm(x, weight.mT, out=y)
            else:
                torch.baddbmm(bias.unsqueeze(1), x, weight.mT, out=y)
            for run in runs:
                run.forward()
            x = y

    def _backward(
        self,
        x: Tensor,
        weights: Sequence[tuple[Tensor, Tensor | None]],
        gradients: Sequence[tuple[Tensor, Tensor | None]],
        space: _Workspace,
    ) -> None:
        inputs = [x, *space.y[:-1]]
        for k in reversed(range(len(self._layers))):
            d, (to_weight, to_bias) = space.d[k], gradients[k]
            for run in space.runs[k]:
                run.backward()
            torch.bmm(d.mT, inputs[k], out=to_weight)
            if to_bias is not None:
                torch.sum(d, 1, out=to_bias)
            if k:
                torch.bmm(d, weights[k][0], out=space.d[k - 1])
