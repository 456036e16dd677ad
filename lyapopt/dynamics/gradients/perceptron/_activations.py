"""Activations and their derivatives, written into memory that is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lyapopt.dynamics.gradients.perceptron._hooks import is_plain

_aten: Any = torch.ops.aten


class Kernel(NamedTuple):
    """An activation in two calls, each in place.

    Attributes:
        forward: Makes `y = f(y)`.
        backward: Multiplies `g` by the derivative, from `(g, v)`: `v` is the input where that is
            needed, else the output.
        reads_input: Whether the derivative is computed from the input, which is kept then.
    """

    forward: Callable[[Tensor], object]
    backward: Callable[[Tensor, Tensor], object]
    reads_input: bool = False


def kernel_of(activation: nn.Module) -> Kernel | None:
    """The calls of an activation; `None` of one that is not known here."""
    make = _KERNELS.get(type(activation))
    return None if make is None or not is_plain(activation) else make(activation)


def _gelu(part: Any) -> Kernel:
    how = part.approximate
    return Kernel(
        lambda y: _aten.gelu_(y, approximate=how),
        lambda g, a: _aten.gelu_backward.grad_input(g, a, approximate=how, grad_input=g),
        reads_input=True,
    )


def _elu(part: Any) -> Kernel:
    alpha = part.alpha
    return Kernel(
        lambda y: _aten.elu_(y, alpha),
        lambda g, a: _aten.elu_backward.grad_input(g, alpha, 1, 1, False, a, grad_input=g),
        reads_input=True,
    )


def _leaky_relu(part: Any) -> Kernel:
    slope = part.negative_slope
    return Kernel(
        lambda y: _aten.leaky_relu_(y, slope),
        lambda g, a: _aten.leaky_relu_backward.grad_input(g, a, slope, False, grad_input=g),
        reads_input=True,
    )


def _softplus(part: Any) -> Kernel:
    beta, threshold = part.beta, part.threshold
    return Kernel(
        lambda y: _aten.softplus.out(y, beta, threshold, out=y),
        lambda g, a: _aten.softplus_backward.grad_input(g, a, beta, threshold, grad_input=g),
        reads_input=True,
    )


_KERNELS: dict[type[nn.Module], Callable[[Any], Kernel]] = {
    nn.Identity: lambda _: Kernel(lambda y: None, lambda g, y: None),
    nn.Sigmoid: lambda _: Kernel(
        torch.sigmoid_, lambda g, y: _aten.sigmoid_backward.grad_input(g, y, grad_input=g)
    ),
    nn.Tanh: lambda _: Kernel(
        torch.tanh_, lambda g, y: _aten.tanh_backward.grad_input(g, y, grad_input=g)
    ),
    nn.ReLU: lambda _: Kernel(
        torch.relu_, lambda g, y: _aten.threshold_backward.grad_input(g, y, 0, grad_input=g)
    ),
    nn.SiLU: lambda _: Kernel(
        _aten.silu_,
        lambda g, a: _aten.silu_backward.grad_input(g, a, grad_input=g),
        reads_input=True,
    ),
    nn.GELU: _gelu,
    nn.ELU: _elu,
    nn.LeakyReLU: _leaky_relu,
    nn.Softplus: _softplus,
}
