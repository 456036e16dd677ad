"""Built-in models from options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lyapopt.errors import UserError
from lyapopt.tasks.catalogue import INITS

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "leaky-relu": nn.LeakyReLU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}


def make_model(options: Mapping[str, Any], shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The model named `options["model"]`, freshly initialised from torch's global generator.

    Args:
        options: Every option of the model, by name (see `lyapopt.tasks.catalogue`).
        shape: Shape of one input, without the batch.
        outputs: Number of output units.
    """
    model = _MODELS[options["model"]](options, shape, outputs)
    initialise(model, options["init"], options["init_scale"])
    return model


def _linear(options: Mapping[str, Any], shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), outputs))


def _mlp(options: Mapping[str, Any], shape: tuple[int, ...], outputs: int) -> nn.Module:
    widths = [torch.Size(shape).numel(), *options["hidden"]]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), *_after_layer(options, nn.BatchNorm1d, after)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


def _cnn(options: Mapping[str, Any], shape: tuple[int, ...], outputs: int) -> nn.Module:
    height, width = shape[-2:]
    channels = [1 if len(shape) == 2 else shape[0], *options["channels"]]
    layers: list[nn.Module] = [nn.Unflatten(1, (1, height))] if len(shape) == 2 else []
    for before, after in pairwise(channels):
        layers.append(nn.Conv2d(before, after, kernel_size=3, padding=1))
        layers += _after_layer(options, nn.BatchNorm2d, after)
        if min(height, width) >= 4:
            layers.append(nn.AvgPool2d(2))
            height, width = height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * height * width, outputs))


def _after_layer(
    options: Mapping[str, Any], norm: Callable[[int], nn.Module], units: int
) -> list[nn.Module]:
    layers = [norm(units)] if options["batch_norm"] else []
    layers.append(_ACTIVATIONS[options["activation"]]())
    if options["dropout"] > 0:
        layers.append(nn.Dropout(options["dropout"]))
    return layers


def _recurrent(options: Mapping[str, Any], shape: tuple[int, ...], outputs: int) -> nn.Module:
    length, features = _steps_of(options, shape)
    layer = nn.GRU if options["model"] == "gru" else nn.RNN
    units = options["units"]
    head = [nn.Linear(units, units), _ACTIVATIONS[options["activation"]]()]
    return nn.Sequential(
        nn.Flatten(),
        nn.Unflatten(1, (length, features)),
        LastStep(layer(features, units, batch_first=True)),
        *head,
        nn.Linear(units, outputs),
    )


def _transformer(options: Mapping[str, Any], shape: tuple[int, ...], outputs: int) -> nn.Module:
    length, features = _steps_of(options, shape)
    width, heads = options["width"], options["heads"]
    if width % heads:
        raise UserError(f"transformer-tiny: width {width} is no multiple of heads {heads}")
    layers = [
        nn.TransformerEncoderLayer(
            width,
            heads,
            dim_feedforward=2 * width,
            dropout=0.0,
            activation=_ACTIVATIONS[options["activation"]](),
            batch_first=True,
            norm_first=True,
        )
        for _ in range(options["depth"])
    ]
    return nn.Sequential(
        nn.Flatten(),
        nn.Unflatten(1, (length, features)),
        Embedding(length, features, width),
        *layers,
        MeanOverSteps(),
        nn.Linear(width, outputs),
    )


def _steps_of(options: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, int]:
    """How many steps an input is read in, and how many numbers each has."""
    size = torch.Size(shape).numel()
    patch = options["patch"] or (shape[-1] if len(shape) > 1 else 1)
    if size % patch:
        raise UserError(f"{options['model']}: patch {patch} does not divide {size} numbers")
    return size // patch, patch


class LastStep(nn.Module):
    """A recurrent layer's output after the last step."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, steps, features)` to `(batch, units)`."""
        output: Tensor = self.layer(x)[0]
        return output[:, -1]


class Embedding(nn.Module):
    """Steps as vectors, each with a learned position added."""

    def __init__(self, length: int, features: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, width)
        self.position = nn.Parameter(torch.randn(length, width) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, steps, features)` to `(batch, steps, width)`."""
        embedded: Tensor = self.linear(x) + self.position
        return embedded


class MeanOverSteps(nn.Module):
    """The mean over the steps."""

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, steps, width)` to `(batch, width)`."""
        return x.mean(1)


_MODELS: dict[str, Callable[[Mapping[str, Any], tuple[int, ...], int], nn.Module]] = {
    "linear": _linear,
    "mlp": _mlp,
    "cnn": _cnn,
    "rnn": _recurrent,
    "gru": _recurrent,
    "transformer-tiny": _transformer,
}


def initialise(model: nn.Module, init: str, scale: float) -> None:
    """Draw the weights of linear, convolutional and recurrent layers from a distribution.

    Args:
        model: Changed in place.
        init: `default` keeps torch's own; `normal` is N(0, 1) and `uniform` U(-1, 1) for weights
            and biases alike, `normal-weights` leaves biases as torch draws them; `xavier`,
            `kaiming` and `orthogonal` set biases to zero.
        scale: Factor on the drawn values.
    """
    assert init in INITS
    with torch.no_grad():
        for layer in model.modules():
            for weight, bias in _pairs(layer):
                _draw(weight, bias, init)
                weight.mul_(scale)
                if bias is not None:
                    bias.mul_(scale)


def _pairs(layer: nn.Module) -> list[tuple[Tensor, Tensor | None]]:
    """Weights and biases that belong together."""
    if isinstance(layer, nn.Linear | nn.Conv2d):
        return [(layer.weight, layer.bias)]
    if isinstance(layer, nn.RNNBase):
        return [
            (getattr(layer, f"weight_{side}_l0"), getattr(layer, f"bias_{side}_l0"))
            for side in ("ih", "hh")
        ]
    return []


_SCHEMES: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "kaiming": nn.init.kaiming_uniform_,
    "orthogonal": nn.init.orthogonal_,
}


def _draw(weight: Tensor, bias: Tensor | None, init: str) -> None:
    if init in ("normal", "uniform"):
        for values in (weight, bias):
            if values is not None:
                values.normal_() if init == "normal" else values.uniform_(-1, 1)
    elif init == "normal-weights":
        weight.normal_()
    elif init != "default":
        _SCHEMES[init](weight)
        if bias is not None:
            bias.zero_()
