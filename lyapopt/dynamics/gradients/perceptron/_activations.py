"""Activations and their derivatives, written into memory that is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lyapopt.dynamics.gradients.perceptron._hooks import is_plain

_aten: Any = torch.ops.aten


class Kernel(NamedTuple):
    """An activation in two calls.

    Attributes:
        forward: Writes `y = f(a)`, from `(a, y)`.
        backward: Multiplies `g` by the derivative in place, from `(g, a, y)`.
    """

    forward: Callable[[Tensor, Tensor], object]
    backward: Callable[[Tensor, Tensor, Tensor], object]


def kernel_of(activation: nn.Module) -> Kernel | None:
    """The calls of an activation; `None` of one that is not known here."""
    make = _KERNELS.get(type(activation))
    return None if make is None or not is_plain(activation) else make(activation)


def _sigmoid(_: Any) -> Kernel:
    return Kernel(
        lambda a, y: torch.sigmoid(a, out=y),
        lambda g, a, y: _aten.sigmoid_backward.grad_input(g, y, grad_input=g),
    )


def _tanh(_: Any) -> Kernel:
    return Kernel(
        lambda a, y: torch.tanh(a, out=y),
        lambda g, a, y: _aten.tanh_backward.grad_input(g, y, grad_input=g),
    )


def _relu(_: Any) -> Kernel:
    return Kernel(
        lambda a, y: torch.clamp_min(a, 0, out=y),
        lambda g, a, y: _aten.threshold_backward.grad_input(g, y, 0, grad_input=g),
    )


def _gelu(part: Any) -> Kernel:
    how = part.approximate
    return Kernel(
        lambda a, y: _aten.gelu.out(a, approximate=how, out=y),
        lambda g, a, y: _aten.gelu_backward.grad_input(g, a, approximate=how, grad_input=g),
    )


def _elu(part: Any) -> Kernel:
    alpha = part.alpha
    return Kernel(
        lambda a, y: _aten.elu.out(a, alpha, out=y),
        lambda g, a, y: _aten.elu_backward.grad_input(g, alpha, 1, 1, False, a, grad_input=g),
    )


def _leaky_relu(part: Any) -> Kernel:
    slope = part.negative_slope
    return Kernel(
        lambda a, y: _aten.leaky_relu.out(a, slope, out=y),
        lambda g, a, y: _aten.leaky_relu_backward.grad_input(g, a, slope, False, grad_input=g),
    )


def _silu(_: Any) -> Kernel:
    return Kernel(
        lambda a, y: _aten.silu.out(a, out=y),
        lambda g, a, y: _aten.silu_backward.grad_input(g, a, grad_input=g),
    )


def _softplus(part: Any) -> Kernel:
    beta, threshold = part.beta, part.threshold
    return Kernel(
        lambda a, y: _aten.softplus.out(a, beta, threshold, out=y),
        lambda g, a, y: _aten.softplus_backward.grad_input(g, a, beta, threshold, grad_input=g),
    )


_KERNELS: dict[type[nn.Module], Callable[[Any], Kernel]] = {
    nn.Identity: lambda _: Kernel(lambda a, y: y.copy_(a), lambda g, a, y: None),
    nn.Sigmoid: _sigmoid,
    nn.Tanh: _tanh,
    nn.ReLU: _relu,
    nn.GELU: _gelu,
    nn.ELU: _elu,
    nn.LeakyReLU: _leaky_relu,
    nn.SiLU: _silu,
    nn.Softplus: _softplus,
}
