"""What neighbours measure in the limit of no radius: growth of independent tangent vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lyapopt.dynamics.maps import Map
from lyapopt.exponents._flock import Observer
from lyapopt.exponents._remarks import TangentSizes, remarks
from lyapopt.exponents._tangent_flock import TangentFlock
from lyapopt.exponents._tangent_step import differentiable
from lyapopt.exponents.checks import check_burn_in, check_counts, check_state
from lyapopt.exponents.directions import seed_of_each
from lyapopt.exponents.exponent import Exponent
from lyapopt.exponents.neighbours import alignment_of, run_flock


def from_tangents(
    step: Map,
    z0: Tensor,
    horizon: int,
    *,
    tangents: int = 1,
    segment: int = 1,
    burn_in: int = 0,
    seed: int | Sequence[int] = 0,
    start: int = 0,
    observe: Observer | None = None,
) -> Exponent:
    """Largest finite-time exponent from tangent vectors that start where neighbours would.

    The limit of `from_neighbours` for a small radius, with no rounding error of a radius in it and
    in float32 too: every tangent is pushed through the derivative of the whole update and rescaled
    on its own. `spectrum` orthonormalises its tangents instead and gives further exponents.

    Args:
        step: A map that can be differentiated in forward mode.
        z0: Initial states, `(M, 1, D)`.
        horizon: Steps to measure over, after the burn-in.
        tangents: Vectors K of each system; with the same seed they start in the directions of as
            many neighbours.
        segment: Steps between two rescalings.
        burn_in: Steps before the measurement.
        seed: Directions follow from it; one number, or one a system.
        start: Time of the first step.
        observe: Called before each step with time, states `(M, 1, D)` and losses.

    Returns:
        Exponents in nats per step, `(M,)`, with `radius` 1 (that of the tangents) and cost:
        `(1 + 2 K) (burn_in + horizon)` gradient evaluations for each system.

    Raises:
        UserError: If an argument is out of its range, or the map cannot be differentiated.

    Source: Benettin, Galgani, Giorgilli & Strelcyn, Meccanica 15 (1980) 9-30.

    Example:
        >>> logistic = lambda z, t: 4 * z * (1 - z)
        >>> z0 = torch.linspace(0.01, 0.4, 100, dtype=torch.float64).view(-1, 1, 1)
        >>> abs(from_tangents(logistic, z0, 1000).value.mean().item() - 0.6931) < 0.01
        True
    """
    horizon, tangents, segment = check_counts(horizon=horizon, tangents=tangents, segment=segment)
    burn_in = check_burn_in(burn_in)
    check_state(z0)
    flock = TangentFlock(step, z0, tangents, seed_of_each(seed, len(z0)), observe)
    with differentiable():
        series, sizes = run_flock(flock, TangentSizes(flock), horizon, segment, burn_in, start)
    growth = series.growth(slice(None), False)
    exponent = Exponent(
        increments=growth.increments,
        segment_steps=torch.tensor(series.lengths, device=growth.increments.device),
        growth=growth.relative,
        log_separations=growth.log_separations,
        losses=torch.stack(series.losses) if series.losses else None,
        final_state=flock.z,
        flags=((),) * len(z0),
        gradient_evaluations=(1 + 2 * tangents) * (burn_in + horizon),
        horizon=horizon,
        neighbours=tangents,
        radius=flock.radius,
        segment=segment,
        burn_in=burn_in,
        distance="weights",
        redraw=False,
        alignment=None if tangents == 1 else alignment_of(flock, tangents),
        steps_per_epoch=getattr(step, "steps_per_epoch", None),
    )
    return remarks(exponent, growth, sizes)
