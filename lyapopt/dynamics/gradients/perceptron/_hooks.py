"""Whether a module does what its class says."""

from __future__ import annotations

from torch import nn


def is_plain(module: nn.Module) -> bool:
    """Whether nothing but the `forward` of its class runs when a module is called."""
    hooks = (
        module._forward_pre_hooks
        or module._forward_hooks
        or module._backward_pre_hooks
        or module._backward_hooks
    )
    return not hooks and "forward" not in vars(module)
