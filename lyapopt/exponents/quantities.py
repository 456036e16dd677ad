"""Which growth rate a number is, and in which unit it is given."""

from __future__ import annotations

import math
from enum import StrEnum
from numbers import Real
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lyapopt.errors import UserError
from lyapopt.exponents.checks import no_type_check


class Quantity(StrEnum):
    """What a growth rate of separations is a growth rate of.

    They agree only in the limit of a long run, and rank configurations differently before it. Only
    compare equal quantities, horizons and numbers of weights.

    Attributes:
        ISOTROPIC_GROWTH: Mean growth over fresh random directions (`redraw=True`); about
            `-lr tr(H) / P` near a minimum, whatever the largest curvature.
        FINITE_TIME_EXPONENT: Growth over the horizon along directions that turn with the dynamics
            (`from_neighbours`, `spectrum`). From an unaligned start it is lower than the next one
            by up to `ln(P) / (2 T)`.
        FINITE_TIME_MAXIMUM: Growth over the horizon of the direction that grows most: the largest
            singular value of the product of Jacobians (`Spectrum.finite_time_maximum`).
        ASYMPTOTIC_EXPONENT: The limit of the last two for a long run (Oseledets). It is 0 for every
            converged network with flat directions, so that it ranks nothing there.
    """

    ISOTROPIC_GROWTH = "isotropic growth"
    FINITE_TIME_EXPONENT = "finite-time exponent"
    FINITE_TIME_MAXIMUM = "finite-time maximum"
    ASYMPTOTIC_EXPONENT = "asymptotic exponent"


Per = Literal["step", "epoch", "time"]
"""What an exponent is counted per: a step, an epoch, or a unit of gradient-flow time."""

_NAMES = {math.e: "nats", 2.0: "bits", 10.0: "bans"}


def unit_name(base: float) -> str:
    """Name of the unit that logarithms of this base are counted in.

    Example:
        >>> unit_name(2), unit_name(10), unit_name(3)
        ('bits', 'bans', 'log3')
    """
    return _NAMES.get(float(base), f"log{base:g}")


@no_type_check
def conversion(
    base: float,
    per: Per,
    steps_per_epoch: int | None,
    dt: float | Tensor | None,
    like: Float[Tensor, "segments systems *exponents"],
) -> Tensor:
    """What nats per step are multiplied by.

    Args:
        base: Base of the logarithm of the new unit.
        per: What the new unit counts growth per.
        steps_per_epoch: Steps of an epoch, for `per="epoch"`.
        dt: Time that one step takes (the learning rate), for `per="time"`: one number, or one a
            system `(M,)`.
        like: Increments that will be converted: number of systems, precision and device.

    Returns:
        One factor `()`, or one a system `(M,)`.

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
