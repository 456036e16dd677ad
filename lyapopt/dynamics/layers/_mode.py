"""The context that catches layers while a model runs, and answers for them.

Three sorts of calls are answered here instead of by torch: those that draw numbers (dropout), those
that keep statistics (BatchNorm in training), and those whose fused kernels have no batching rule or
no forward-mode derivative (attention, recurrent layers, weight norm). Masks come from a hash of
(seed, step, layer), the same for every trajectory of a system.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lyapopt.dynamics.layers import _attention, _dropout, _losses, _normalisation, _recurrent
from lyapopt.dynamics.randomness import hashed_key, hashed_uniform
from lyapopt.errors import NotStackableError


class DeterministicLayers(TorchFunctionMode):
    """Context in which every layer is a pure function.

    Args:
        key: Seed of the system, an int64 scalar; batched by `vmap`, or `Rows` of scalars.
        step: The time `t` of the map.

    Attributes:
        was_needed: Whether the model has called any layer that is answered here.
    """

    def __init__(self, key: Any, step: int) -> None:
        super().__init__()
        self.was_needed = False
        self._key = key
        self._step = step
        self._calls = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer the calls that are not pure; pass all others on."""
        kwargs = kwargs or {}
        if func in _PURE:
            self.was_needed = True
            return _PURE[func](*args, **kwargs)
        if func in _RANDOM:
            self.was_needed = True
            return _RANDOM[func](self, *args, **kwargs)
        return func(*args, **kwargs)

    @staticmethod
    def is_random(func: Callable[..., Any]) -> bool:
        """Whether a function may draw numbers."""
        return func in _RANDOM

    def mask(self, size: torch.Size, p: float, like: Tensor) -> Tensor:
        """0 with probability `p`, else 1, different for every layer, system and step."""
        self._calls += 1
        key = hashed_key(self._key.to(like.device), self._step, self._calls)
        return (hashed_uniform(key, size) >= p).to(like.dtype)


def _refuse(layers: DeterministicLayers, *args: Any, **kwargs: Any) -> Any:
    raise NotStackableError("alpha dropout and RReLU draw numbers that cannot be replayed")


_PURE: dict[Any, Callable[..., Any]] = {
    F.batch_norm: _normalisation.batch_norm,
    F.layer_norm: _normalisation.layer_norm,
    F.instance_norm: _normalisation.instance_norm,
    torch.batch_norm: _normalisation.torch_batch_norm,
    torch.layer_norm: _normalisation.torch_layer_norm,
    torch.instance_norm: _normalisation.torch_instance_norm,
    F.mse_loss: _losses.mse_loss,
    F.huber_loss: _losses.huber_loss,
    torch._weight_norm: _normalisation.weight_norm,
    torch.gru_cell: _recurrent.gru_cell,
    torch.lstm_cell: _recurrent.lstm_cell,
    torch.rnn_tanh_cell: _recurrent.rnn_tanh_cell,
    torch.rnn_relu_cell: _recurrent.rnn_relu_cell,
}

_RANDOM: dict[Any, Callable[..., Any]] = {
    F.dropout: _dropout.dropout,
    F.dropout1d: _dropout.dropout1d,
    F.dropout2d: _dropout.dropout2d,
    F.dropout3d: _dropout.dropout3d,
    F.scaled_dot_product_attention: _attention.scaled_dot_product_attention,
    F.multi_head_attention_forward: _attention.multi_head_attention,
    torch.gru: _recurrent.gru,
    torch.lstm: _recurrent.lstm,
    torch.rnn_tanh: _recurrent.rnn_tanh,
    torch.rnn_relu: _recurrent.rnn_relu,
    F.alpha_dropout: _refuse,
    F.feature_alpha_dropout: _refuse,
}
