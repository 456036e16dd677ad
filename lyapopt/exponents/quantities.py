"""The three growth rates that are called "the exponent", told apart."""

from __future__ import annotations

from enum import StrEnum


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
