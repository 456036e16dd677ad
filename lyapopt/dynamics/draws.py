"""Random numbers that a model draws for itself, in one precision whatever it runs in.

A generator in one state gives other numbers in float32 than in float64. A network and its twin in
another precision see the same noise only if both draw it in the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_OF_A_SIZE = frozenset({torch.randn, torch.rand})
_LIKE_A_TENSOR = frozenset({torch.randn_like, torch.rand_like})
_OF_TENSORS = frozenset({torch.normal, torch.bernoulli})
_IN_PLACE = frozenset(
    {
        *(Tensor.normal_, Tensor.uniform_, Tensor.exponential_),
        *(Tensor.log_normal_, Tensor.cauchy_, Tensor.bernoulli_),
    }
)
DRAWING: frozenset[Any] = _OF_A_SIZE | _LIKE_A_TENSOR | _OF_TENSORS | _IN_PLACE
"""Functions that draw real numbers."""


def drawn(
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    precision: torch.dtype,
) -> Any:
    """What a function of `DRAWING` returns, drawn in `precision` and then put into its own dtype.

    Example:
        >>> def draw(like):
        ...     _ = torch.manual_seed(0)
        ...     return drawn(torch.randn_like, [like], {}, torch.float64)
        >>> narrow, wide = draw(torch.zeros(20)), draw(torch.zeros(20, dtype=torch.float64))
        >>> narrow.dtype, bool((narrow == wide.float()).all())
        (torch.float32, True)
    """
    if func in _IN_PLACE:
        target, *others = args
        if not target.is_floating_point():
            return func(*args, **kwargs)
        with torch.no_grad():
            return target.copy_(func(torch.empty_like(target, dtype=precision), *others, **kwargs))
    given = [arg for arg in args if isinstance(arg, Tensor)]
    own = kwargs.get("dtype") or (given[0].dtype if given else torch.get_default_dtype())
    if not own.is_floating_point or "out" in kwargs or kwargs.get("requires_grad"):
        return func(*args, **kwargs)
    if func in _OF_TENSORS and given:
        wide = [a.to(precision) if isinstance(a, Tensor) else a for a in args]
        return func(*wide, **kwargs).to(own)
    return func(*args, **{**kwargs, "dtype": precision}).to(own)
