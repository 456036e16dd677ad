"""Functions that treat every number by itself, and their broadcasting."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)
from torch import Tensor

from lyapopt.dynamics.gradients.rowwise._rows import (
    Function,
    NoRule,
    Operand,
    Rows,
    add_operators,
    add_rule,
    aligned,
    named,
)
from lyapopt.dynamics.gradients.rowwise._shapes import EXTREMA, reduce

_UNARY_NAMES = """
abs acos asin atan ceil clamp clamp_max clamp_min cos cosh digamma erf erfc exp exp2 expm1 floor
frac log log10 log1p log2 logical_not neg negative positive reciprocal relu round rsqrt sigmoid sign
sin sinc sinh sqrt square tan tanh trunc logit sgn isfinite isnan isinf lgamma
celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu6 selu silu
softplus softshrink softsign tanhshrink threshold
clone contiguous detach to float double half bfloat16 type_as long int bool
zeros_like ones_like full_like empty_like
relu_ tanh_ sigmoid_ exp_ clamp_ neg_ sqrt_ zero_ fill_ leaky_relu_ elu_ hardtanh_ celu_ selu_
abs_ square_ rsqrt_ threshold_
"""

_BROADCAST_NAMES = """
add sub subtract mul multiply div divide true_divide pow maximum minimum max min atan2 fmod
remainder eq ne lt le gt ge logical_and logical_or logical_xor hypot lerp addcmul addcdiv where
masked_fill
rsub bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift floor_divide
logaddexp copysign
__add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __div__ __rdiv__ __pow__
__rpow__ __mod__ __floordiv__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __and__ __or__ __xor__
__rand__ __ror__ __rxor__ __lshift__ __rshift__ __neg__ __abs__ __invert__
add_ sub_ mul_ div_ copy_ pow_ addcmul_ addcdiv_ lerp_ masked_fill_
__iadd__ __isub__ __imul__ __itruediv__
"""

_UNARY, _BROADCAST = _UNARY_NAMES.split(), _BROADCAST_NAMES.split()


def register() -> None:
    """Add the rules."""
    for name in _UNARY:
        add_rule(_unary, *named(name, torch, Tensor, F))
    for name in _BROADCAST:
        add_rule(_broadcast, *named(name, torch, Tensor))
    add_rule(_without_mask, F.dropout, F.dropout1d, F.dropout2d, F.dropout3d)
    add_operators([name for name in _BROADCAST if name.startswith("__")])


def _unary(func: Function, input: Rows, *args: Any, **kwargs: Any) -> Rows:
    args = tuple(value.data if isinstance(value, Rows) else value for value in args)
    return Rows(func(input.data, *args, **kwargs))


def _broadcast(func: Function, *args: Any, **kwargs: Any) -> Any:
    if func in EXTREMA and (len(args) == 1 or not isinstance(args[1], Operand)):
        return reduce(func, *args, **kwargs)
    result = func(*aligned(*args), **kwargs)
    return result if result is NotImplemented else Rows(result)


def _without_mask(
    func: Function, input: Rows, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Rows:
    """Dropout that draws nothing; `DeterministicLayers` catches that which does."""
    if training and p > 0:
        raise NoRule("dropout without masks")
    return input
