"""The largest exponent from the growth of small separations (hybrid Wolf-Kantz, Eq. 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lyapopt.dynamics.maps import Map
from lyapopt.exponents._flock import Flock, Observer
from lyapopt.exponents._remarks import AnyFlock, Sizes, remarks
from lyapopt.exponents._series import Series
from lyapopt.exponents.checks import check_burn_in, check_counts, check_radius, check_state
from lyapopt.exponents.directions import seed_of_each
from lyapopt.exponents.exponent import Exponent
from lyapopt.exponents.separations import Distance

__all__ = ["Observer", "from_neighbours"]

_TENTH = 0.1


def from_neighbours(
    step: Map,
    z0: Tensor,
    horizon: int,
    *,
    neighbours: int = 16,
    radius: float = 1e-6,
    segment: int = 1,
    burn_in: int = 0,
    distance: Distance = "weights",
    redraw: bool = False,
    check_linearity: bool = False,
    seed: int | Sequence[int] = 0,
    start: int = 0,
    observe: Observer | None = None,
) -> Exponent:
    """Largest finite-time Lyapunov exponent from the growth of small separations (Eq. 4).

    Every system is trained together with `neighbours` copies whose weights lie on a sphere of
    radius `radius` around its own, under common random numbers. After each segment of tau steps
    every neighbour is put back to the radius along its own direction. With `D_i` the mean
    separation in segment i over the neighbours,

        lambda = 1 / T * sum_i ln( D_i(tau) / D_i(0) ),    T = steps of all segments.

    Perturbations lie in the weight block; a rescaling acts on the whole difference of states.

    Args:
        step: A map `step(z, t) -> z` on `(systems, trajectories, dim)`.
        z0: Initial states of the references, `(M, 1, D)`, float32 or float64.
        horizon: Steps to measure over, after the burn-in.
        neighbours: Copies K of each system.
        radius: Separation, in the norm of the weights, that neighbours start with and are rescaled
            to. 1e-6 is small against curvature and large against rounding in float64.
        segment: Steps tau between two rescalings. Longer ones let `value` follow the neighbour that
            grows most, and let separations grow out of the linear regime.
        burn_in: Steps before the measurement, in which the neighbours turn into the direction of
            fastest growth; a random direction biases a short measurement by up to -ln(P) / (2 T).
        distance: Separation in `weights`, in `outputs` on a fixed batch, or a function. Neighbours
            are rescaled to the radius in the weights whatever is measured.
        redraw: Draw new neighbours after every segment instead of rescaling: the isotropic growth,
            another quantity than the largest exponent (about -lr tr(H) / P near a minimum).
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
    horizon, neighbours, segment = check_counts(
        horizon=horizon, neighbours=neighbours, segment=segment
    )
    burn_in = check_burn_in(burn_in)
    check_state(z0)
    check_radius(step, z0, radius)
    if check_linearity:
        check_radius(step, z0, _TENTH * radius, "a tenth of the radius (for check_linearity)")
    radii = torch.tensor([1.0, _TENTH] if check_linearity else [1.0], dtype=torch.float64) * radius
    flock = Flock(
        step,
        z0,
        radii.repeat_interleave(neighbours),
        len(radii),
        distance,
        seed_of_each(seed, len(z0)),
        observe,
    )
    series, sizes = run_flock(flock, Sizes(flock), horizon, segment, burn_in, start, redraw)
    growth = series.growth(slice(0, neighbours), redraw)
    lengths = torch.tensor(series.lengths, device=growth.increments.device)
    alignment = None if neighbours == 1 or redraw else alignment_of(flock, neighbours)
    trajectories = 1 + neighbours * len(radii)
    looks = 1 + horizon + len(series.lengths)
    exponent = Exponent(
        increments=growth.increments,
        segment_steps=lengths,
        growth=growth.relative,
        log_separations=growth.log_separations,
        losses=torch.stack(series.losses) if series.losses else None,
        final_state=flock.z[:, :1],
        flags=((),) * len(z0),
        gradient_evaluations=trajectories * (burn_in + horizon),
        horizon=horizon,
        neighbours=neighbours,
        radius=radius,
        segment=segment,
        burn_in=burn_in,
        distance=distance if isinstance(distance, str) else getattr(distance, "__name__", "own"),
        redraw=redraw,
        alignment=alignment,
        linearity_error=_linearity_error(series, neighbours, redraw) if check_linearity else None,
        forward_passes=trajectories * looks if distance == "outputs" else 0,
        steps_per_epoch=getattr(step, "steps_per_epoch", None),
    )
    return remarks(exponent, growth, sizes)


def run_flock(
    flock: AnyFlock,
    sizes: Sizes,
    horizon: int,
    segment: int,
    burn_in: int,
    start: int,
    redraw: bool = False,
) -> tuple[Series, Sizes]:
    """The loop over steps. Nothing in it waits for the device."""
    for t in range(start, start + burn_in):
        flock.advance(t)
        flock.rescale()
    if redraw and burn_in and isinstance(flock, Flock):
        flock.redraw(start + burn_in)
    sizes.begin()
    series = Series(flock.separations())
    for offset in range(horizon):
        t = start + burn_in + offset
        flock.advance(t)
        series.add(flock.separations(), flock.losses)
        if (offset + 1) % segment == 0 or offset + 1 == horizon:
            sizes.look()
            if redraw and isinstance(flock, Flock):
                flock.redraw(t + 1)
            else:
                flock.rescale()
            series.close_segment(flock.separations())
    return series, sizes


def alignment_of(flock: AnyFlock, neighbours: int) -> Tensor:
    """Mean absolute cosine between the first neighbour's direction and the others', `(M,)`."""
    away = flock.weights(flock.differences()[:, :neighbours])
    norms = flock.weight_separations()[:, :neighbours]
    products = (away[:, :1] * away[:, 1:]).sum(-1)
    cosines = products.abs() / (norms[:, :1] * norms[:, 1:])
    return cosines.mean(-1)


def _linearity_error(series: Series, neighbours: int, redraw: bool) -> Tensor:
    """Absolute difference between the exponents at the radius and at a tenth of it, `(M,)`."""
    large = series.growth(slice(0, neighbours), redraw).increments
    small = series.growth(slice(neighbours, None), redraw).increments
    used = torch.isfinite(large) & torch.isfinite(small)
    steps = large.new_tensor(series.lengths).unsqueeze(-1) * used
    return torch.where(used, large - small, 0.0).sum(0).abs() / steps.sum(0)
