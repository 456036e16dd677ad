"""Attention by plain matrix products: the fused kernels have no forward-mode derivative."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from types import FunctionType
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)
from torch import Tensor

from lyapopt.dynamics.layers._dropout import Masks, dropout


class _Layers(Masks, AbstractContextManager[Any, Any], Protocol):
    """Masks that are a context as well."""


def scaled_dot_product_attention(
    masks: Masks,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`F.scaled_dot_product_attention`: `softmax(Q K^T scale + mask) V`."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * scale) @ key.mT
    if is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~allowed, -math.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return dropout(masks, scores.softmax(-1), dropout_p) @ value


def multi_head_attention(layers: _Layers, *args: Any, **kwargs: Any) -> Any:
    """`F.multi_head_attention_forward` with its inner calls caught too.

    A mode is switched off inside a function that it has caught, so that torch's own function would
    draw its dropout unseen. It is run with the mode on, and with a `has_torch_function` that finds
    none, so that it does not hand its call over again.
    """
    with layers:
        return _opened(*args, **kwargs)


def _no_mode(tensors: Any) -> bool:
    return False


_original: Any = F.multi_head_attention_forward
_opened = FunctionType(
    _original.__code__,
    {**vars(F), "has_torch_function": _no_mode},
    _original.__name__,
    _original.__defaults__,
)
_opened.__kwdefaults__ = _original.__kwdefaults__
