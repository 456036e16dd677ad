"""The largest exponent from the growth of small separations (hybrid Wolf-Kantz, Eq. 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lyapopt.dynamics.maps import Map
from lyapopt.exponents.checks import (
    check_average,
    check_burn_in,
    check_counts,
    check_flags,
    check_map,
    check_radius,
    check_state,
    no_type_check,
)
from lyapopt.exponents.diagnostics import with_flags
from lyapopt.exponents.ensemble import Ensemble, NeighbourEnsemble, Observer
from lyapopt.exponents.growth import Average, SeparationLog, follow, growth_of
from lyapopt.exponents.perturbations import Distance, seed_of_each
from lyapopt.exponents.results import Exponent

_TENTH = 0.1


@no_type_check
def from_neighbours(
    step: Map,
    z0: Float[Tensor, "systems 1 dim"],
    horizon: int,
    *,
    neighbours: int = 16,
    radius: float = 1e-6,
    segment: int = 1,
    burn_in: int = 0,
    distance: Distance = "weights",
    redraw: bool = False,
    average: Average = "logs",
    check_linearity: bool = False,
    seed: int | Sequence[int] = 0,
    start: int = 0,
    observe: Observer | None = None,
) -> Exponent:
    """Largest finite-time Lyapunov exponent from the growth of small separations (Eq. 4).

    Every system is trained together with `neighbours` copies whose weights lie on a sphere of
    radius `radius` around its own, under common random numbers. After each segment of tau steps
    every neighbour is put back to the radius along its own direction. With `D_i` the separation of
    a neighbour in segment i, and the mean over the neighbours,

        lambda = 1 / T * sum_i mean ln( D_i(tau) / D_i(0) ),    T = steps of all segments.

    Perturbations lie in the weight block; a rescaling acts on the whole difference of states.

    Args:
        step: A map `step(z, t) -> z` on `(systems, trajectories, dim)`.
        z0: Initial states of the references, `(M, 1, D)`, float32 or float64.
        horizon: Steps to measure over, after the burn-in.
        neighbours: Copies K of each system.
        radius: Separation, in the norm of the weights, that neighbours start with and are rescaled
            to. 1e-6 is small against curvature and large against rounding in float64. A system
            whose state outgrows it, so that rounding would drown it, is given
            `sqrt(eps)` of the norm of its weights instead.
        segment: Steps tau between two rescalings. Longer ones let separations grow out of the
            linear regime.
        burn_in: Steps before the measurement, in which the neighbours turn into the direction of
            fastest growth; a random direction biases a short measurement by up to -ln(P) / (2 T).
        distance: Separation in `weights`, in `outputs` on a fixed batch, or a function. Neighbours
            are rescaled to the radius in the weights whatever is measured.
        redraw: Draw new neighbours after every segment instead of rescaling: the isotropic growth,
            another quantity than the largest exponent (about -lr tr(H) / P near a minimum).
        average: `logs` takes the mean over neighbours of the logarithms of their growth, which
            tends to the exponent whatever the directions are. `paper` is Eq. 4 as published, the
            logarithm of the mean separation: the same with one neighbour, or once all neighbours
            point one way. Where they do not (heavy ball below critical damping) it collects an
            excess in every segment and drifts upwards, past zero too: `value` does not tend to the
            exponent then, and its intervals do not cover it.
        check_linearity: Run K more neighbours in the same directions at a tenth of the radius, and
            compare.
        seed: Directions follow from it: the same for all systems if it is one number (common
            random numbers between systems), or one seed a system.
        start: Time of the first step (the map may depend on time).
        observe: Called before each step, burn-in included.

    Returns:
        Exponents in nats per step, `(M,)`, with increments, separations, flags and cost:
        `(K + 1) (burn_in + horizon)` gradient evaluations for each system, `2 K + 1` instead of
        `K + 1` with the check.

    Raises:
        RadiusError: If `radius` is not positive, or too small for the dtype to resolve.
        UserError: If an argument is out of its range.

    Source: Mitra, arXiv:2410.05988, Eq. 4; Wolf, Swift, Swinney & Vastano, Physica D 16 (1985)
        285-317; Kantz, Phys. Lett. A 185 (1994) 77.

    Example:
        >>> from lyapopt.dynamics.randomness import generator
        >>> logistic = lambda z, t: 4 * z * (1 - z)
        >>> z0 = torch.rand(100, 1, 1, dtype=torch.float64, generator=generator(0))
        >>> e = from_neighbours(logistic, z0, 1000, neighbours=1, radius=1e-9)
        >>> abs(e.value.mean().item() - 0.6931) < 0.01
        True
    """
    check_map(step, start, observe)
    check_flags(redraw=redraw, check_linearity=check_linearity)
    horizon, neighbours, segment = check_counts(
        horizon=horizon, neighbours=neighbours, segment=segment
    )
    burn_in = check_burn_in(burn_in)
    check_average(average)
    check_state(z0)
    check_radius(step, z0, radius)
    if check_linearity:
        check_radius(step, z0, _TENTH * radius, "a tenth of the radius (for check_linearity)")
    radii = torch.tensor([1.0, _TENTH] if check_linearity else [1.0], dtype=torch.float64) * radius
    ensemble = NeighbourEnsemble(
        step,
        z0,
        radii.repeat_interleave(neighbours),
        len(radii),
        distance,
        seed_of_each(seed, len(z0)),
        observe,
    )
    log = follow(ensemble, horizon, segment, burn_in, start, redraw)
    trajectories = 1 + neighbours * len(radii)
    measurements = 1 + horizon + len(log.ends)
    return exponent_of(
        log,
        neighbours,
        segment=segment,
        burn_in=burn_in,
        gradient_evaluations=trajectories * (burn_in + horizon),
        distance=distance if isinstance(distance, str) else getattr(distance, "__name__", "own"),
        redraw=redraw,
        average=average,
        linearity_error=(
            _linearity_error(log, neighbours, redraw, average) if check_linearity else None
        ),
        forward_passes=trajectories * measurements if distance == "outputs" else 0,
    )


def exponent_of(
    log: SeparationLog,
    neighbours: int,
    *,
    segment: int,
    burn_in: int,
    gradient_evaluations: int,
    distance: str = "weights",
    redraw: bool = False,
    average: Average = "logs",
    linearity_error: Float[Tensor, " systems"] | None = None,
    forward_passes: int = 0,
) -> Exponent:
    """The exponents of an ensemble, from its first `neighbours` separations, with their flags.

    Args:
        log: What was written down on the way.
        neighbours: How many separations of each system are averaged over.
        segment, burn_in, distance, redraw, average: How it was measured.
        gradient_evaluations, forward_passes: Cost of each system.
        linearity_error: See `Exponent`.
    """
    ensemble = log.ensemble
    growth = growth_of(log, slice(0, neighbours), redraw, average)
    exponent = Exponent(
        increments=growth.increments,
        segment_steps=torch.tensor(log.segment_steps, device=growth.increments.device),
        growth=growth.relative,
        log_separations=growth.log_separations,
        losses=torch.stack(log.losses) if log.losses else None,
        final_state=ensemble.reference,
        gradient_evaluations=gradient_evaluations,
        horizon=log.ends[-1],
        neighbours=neighbours,
        radius=ensemble.radius,
        segment=segment,
        burn_in=burn_in,
        distance=distance,
        redraw=redraw,
        average=average,
        alignment=None if neighbours == 1 or redraw else _alignment(ensemble, neighbours),
        linearity_error=linearity_error,
        forward_passes=forward_passes,
        steps_per_epoch=getattr(ensemble.step, "steps_per_epoch", None),
    )
    return with_flags(exponent, growth, log)


def _alignment(ensemble: Ensemble, neighbours: int) -> Float[Tensor, " systems"]:
    """Mean absolute cosine between the first neighbour's direction and the others'."""
    away = ensemble.weights(ensemble.differences()[:, :neighbours])
    norms = ensemble.weight_separations()[:, :neighbours]
    products = (away[:, :1] * away[:, 1:]).sum(-1)
    cosines = products.abs() / (norms[:, :1] * norms[:, 1:])
    return cosines.mean(-1)


def _linearity_error(
    log: SeparationLog, neighbours: int, redraw: bool, average: Average
) -> Float[Tensor, " systems"]:
    """Absolute difference between the exponents at the radius and at a tenth of it."""
    large = growth_of(log, slice(0, neighbours), redraw, average).increments
    small = growth_of(log, slice(neighbours, None), redraw, average).increments
    used = torch.isfinite(large) & torch.isfinite(small)
    steps = large.new_tensor(log.segment_steps).unsqueeze(-1) * used
    return torch.where(used, large - small, 0.0).sum(0).abs() / steps.sum(0)
