"""Units of an exponent: nats or bits, per step, per epoch or per unit of gradient-flow time."""

from __future__ import annotations

import math
from numbers import Real
from typing import Literal

import torch
from torch import Tensor

from lyapopt.errors import UserError

Per = Literal["step", "epoch", "time"]

_NAMES = {math.e: "nats", 2.0: "bits", 10.0: "bans"}


def unit_name(base: float) -> str:
    """Name of the unit that logarithms of this base are counted in.

    Example:
        >>> unit_name(2), unit_name(10), unit_name(3)
        ('bits', 'bans', 'log3')
    """
    return _NAMES.get(float(base), f"log{base:g}")


def conversion(
    base: float,
    per: Per,
    steps_per_epoch: int | None,
    dt: float | Tensor | None,
    like: Tensor,
) -> Tensor:
    """What nats per step are multiplied by: one number, or one a system `(M,)`.

    Raises:
        UserError: If the base is not above 1, or a number that `per` needs is missing or wrong.
    """
    if not (isinstance(base, Real) and 1 < base < math.inf):
        raise UserError(f"base must be a number greater than 1, not {base!r}")
    factor = like.new_tensor(1 / math.log(float(base)))
    if per == "step":
        return factor
    if per == "epoch":
        if steps_per_epoch is None:
            raise UserError("per='epoch' needs steps_per_epoch, because the map has no epochs")
        if not steps_per_epoch > 0:
            raise UserError(f"steps_per_epoch must be positive, not {steps_per_epoch!r}")
        return factor * steps_per_epoch
    if per == "time":
        if dt is None:
            raise UserError("per='time' needs dt, the learning rate (the time that one step takes)")
        time = torch.as_tensor(dt, dtype=like.dtype, device=like.device)
        if not bool((time > 0).all()):
            raise UserError(f"dt must be positive, not {dt!r}")
        systems = like.shape[1]
        if time.dim() and time.shape != (systems,):
            raise UserError(
                f"dt must be one number or one for each of the {systems} systems, not of shape "
                f"{tuple(time.shape)}"
            )
        return factor / time
    raise UserError(f"per must be 'step', 'epoch' or 'time', not {per!r}")
