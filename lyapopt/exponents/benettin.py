"""The Lyapunov spectrum from tangent vectors (Benettin's algorithm with QR)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lyapopt.dynamics.maps import Map
from lyapopt.errors import UserError
from lyapopt.exponents.checks import (
    check_burn_in,
    check_counts,
    check_map,
    check_state,
    no_type_check,
)
from lyapopt.exponents.diagnostics import spectrum_with_flags
from lyapopt.exponents.frame import DeadNetworkCheck, Frame, Moment, Resolution, qr, within_range
from lyapopt.exponents.perturbations import (
    embed,
    gaussian,
    seed_of_each,
    weight_norms,
    weight_positions,
)
from lyapopt.exponents.results import Spectrum
from lyapopt.exponents.tangents import TangentStep, differentiable

_LARGEST_FULL = 4096  # dimensions that a full spectrum is computed for without being asked


@no_type_check
def spectrum(
    step: Map,
    z0: Float[Tensor, "systems 1 dim"],
    horizon: int,
    *,
    k: int | None = None,
    qr_every: int = 1,
    burn_in: int = 0,
    perturb: Literal["state", "weights"] | None = None,
    chunk: int | None = None,
    seed: int | Sequence[int] = 0,
    start: int = 0,
) -> Spectrum:
    """The `k` largest Lyapunov exponents, by tangent vectors through the whole update.

    With `J_t` the Jacobian of the map along the reference, and `Q_0` a random orthonormal frame,

        J_t Q_t = Q_{t+1} R_{t+1},    lambda_i = 1 / T * sum_t ln (R_t)_ii    (diagonal positive).

    The Jacobian is that of the whole state: momentum, Adam's moments, weight decay, schedules,
    clipping and buffers are in it, so that the full spectrum has `D = P (1 + slots) + buffers`
    exponents. No radius has to be chosen, and nothing is linearised but the map itself.

    Args:
        step: A map `step(z, t) -> z` on `(systems, trajectories, dim)`, made of differentiable
            torch operations.
        z0: Initial states, `(M, 1, D)`, float32 or float64.
        horizon: Steps T to measure over, after the burn-in.
        k: How many exponents, at most D; `None` is all of them.
        qr_every: Steps between two orthonormalisations. The i-th vector keeps about
            `16 - (lambda_1 - lambda_i) qr_every / 2.3` digits in float64.
        burn_in: Steps before the measurement, in which the frame turns into the directions of
            fastest growth. An exponent is off by `C / T` without it.
        perturb: Where the first frame lies: anywhere in the `state`, or in the `weights` alone, as
            neighbours do (then `k <= P`). Asymptotic exponents do not depend on it, short horizons
            do: a unit change of Adam's second moment at the first step is no small change of a
            training. By default the weights, where `k` is given and fits there.
        chunk: Tangents pushed at once; fewer take less memory and as much arithmetic.
        seed: The first frame follows from it; one number, or one a system.
        start: Time of the first step.

    Returns:
        Exponents in nats per step, `(M, k)`, descending, with increments, flags and cost:
        `(1 + 2 k) (burn_in + horizon)` gradient evaluations for each system, since the derivative
        of a gradient costs about two gradients (measured: 2 to 3 in wide nets), 7 more where the
        map is differentiated for the first time and its derivative is compared with differences,
        `2 + 4 k` where growth fell below rounding and had to be told from zero, and 3 where the
        weights never moved. Memory grows as `k M D`, never as `D^2` unless all are asked for.

    Raises:
        UserError: If an argument is out of its range, the map cannot be differentiated, or its
            derivative is wrong.

    Source: Benettin, Galgani, Giorgilli & Strelcyn, Meccanica 15 (1980) 9-30; Shimada & Nagashima,
        Prog. Theor. Phys. 61 (1979) 1605; Eckmann & Ruelle, Rev. Mod. Phys. 57 (1985) 617.

    Example:
        >>> from lyapopt.exponents import spectrum
        >>> def henon(z, t):
        ...     x, y = z.unbind(-1)
        ...     return torch.stack([1 - 1.4 * x * x + y, 0.3 * x], -1)
        >>> s = spectrum(henon, torch.zeros(1, 1, 2).double(), 500, burn_in=50)
        >>> s.values.shape, round(s.sum.item(), 9)
        (torch.Size([1, 2]), -1.203972804)
    """
    check_map(step, start)
    horizon, qr_every = check_counts(horizon=horizon, qr_every=qr_every)
    burn_in = check_burn_in(burn_in)
    check_state(z0)
    if k is not None:
        (k,) = check_counts(k=k)
    if chunk is not None:
        (chunk,) = check_counts(chunk=chunk)
    z = z0.detach()
    seeds = seed_of_each(seed, len(z))
    frame = Frame(_first_frame(step, z, k, perturb, seeds))
    check = DeadNetworkCheck(step, z)
    push = TangentStep(step, chunk)
    is_finite: list[Tensor] = []
    shares = [_log_share(step, frame)]
    with differentiable():
        for begin, steps, is_measured in _segments(burn_in, horizon, qr_every):
            last = Moment(z, frame.Q, start + begin)
            JQ, log_scale = frame.tangents, z.new_zeros(len(z), dtype=torch.float64)
            for t in range(start + begin, start + begin + steps):
                z, JQ = push(z, JQ, t)
                is_finite.append(torch.isfinite(z).all(-1)[:, 0])
                if steps > 1:
                    JQ, shift = within_range(JQ)
                    log_scale = log_scale + shift
            frame.orthonormalise(JQ, steps, is_measured, log_scale)
            if is_measured:
                check.watch(z)
            else:
                check = DeadNetworkCheck(step, z)
                shares.clear()  # the measurement begins with the last frame of the burn-in
            shares.append(_log_share(step, frame))
        resolution = Resolution.of(frame, last, push)
        dead = check.dead(last, push, seeds)
    spent = (1 + 2 * frame.Q.shape[-1]) * (burn_in + horizon) + push.spent_on_check
    over_weights = frame.increments() + torch.stack(shares).diff(dim=0)
    result = Spectrum(
        increments=resolution.increments,
        weight_increments=over_weights[..., 0],
        segment_steps=torch.tensor(frame.segment_steps, device=z.device),
        alignment=frame.alignment(),
        largest_growth=frame.largest_growth() / horizon,
        final_state=z,
        final_tangents=frame.Q.movedim(-1, -2),
        gradient_evaluations=spent + resolution.gradient_evaluations + dead.gradient_evaluations,
        horizon=horizon,
        qr_every=qr_every,
        burn_in=burn_in,
        steps_per_epoch=getattr(step, "steps_per_epoch", None),
    )
    return spectrum_with_flags(
        result,
        over_weights,
        torch.stack(is_finite),
        resolution.is_zero,
        resolution.is_doubtful,
        dead.rows,
    )


def _segments(burn_in: int, horizon: int, qr_every: int) -> Iterator[tuple[int, int, bool]]:
    """First step, length and whether it is measured, of every segment."""
    for begin, end, is_measured in ((0, burn_in, False), (burn_in, burn_in + horizon, True)):
        for first in range(begin, end, qr_every):
            yield first, min(qr_every, end - first), is_measured


def _log_share(step: Map, frame: Frame) -> Float[Tensor, "systems k"]:
    """Log of the norm over the weights of every tangent: which one leads is seen at the end."""
    return weight_norms(step, frame.Q.movedim(-1, -2)).double().log()


def _first_frame(
    step: Map,
    z: Float[Tensor, "systems 1 dim"],
    k: int | None,
    perturb: str | None,
    seeds: Sequence[int],
) -> Float[Tensor, "systems dim k"]:
    """Random orthonormal tangents.

    Raises:
        UserError: If `k` or `perturb` is out of its range.
    """
    systems, _, dim = z.shape
    if perturb not in ("state", "weights", None):
        raise UserError(f"perturb must be 'state', 'weights' or None, not {perturb!r}")
    positions = weight_positions(step, dim)
    weights = dim if positions is None else len(positions)
    if perturb == "state" or (perturb is None and (k is None or k > weights)):
        positions = None
    width = dim if positions is None else len(positions)
    count = _count(k, width, "state" if positions is None else "weight block")
    drawn = gaussian(seeds, count, width, 0).to(z)
    vectors = qr(drawn.movedim(-1, -2))[0].movedim(-1, -2)
    return embed(vectors, positions, dim).movedim(-1, -2).expand(systems, -1, -1)


def _count(k: int | None, width: int, where: str) -> int:
    if k is None:
        if width > _LARGEST_FULL:
            raise UserError(
                f"the {where} has {width} dimensions, and a full spectrum needs as many tangent "
                f"vectors of that size; ask for the largest few with k, or for k={width}"
            )
        return width
    if k > width:
        raise UserError(f"k={k} exponents were asked for, but the {where} has {width} dimensions")
    return k
