r"""Lyapunov exponents of training, and of any other map.

What is measured
----------------
Training is a map: `z_{t+1} = F_t(z_t)`, `z` holding weights, optimiser slots and buffers. Two
trainings that start a small distance apart, on the same batches, separate or approach each other by

    |dz_T| = |J_{T-1} ... J_0 dz_0|,    J_t = dF_t / dz (z_t),

and an exponent is the mean logarithm of that growth, in nats per step. For a network, or a list of
them, `lyapopt.training_exponent` and `lyapopt.training_spectrum` need three lines; for any map
there are the estimators below. Three growth rates share the name (`Quantity`), and rank
configurations differently; only compare equal ones, over equal horizons and numbers of weights P.

- **Isotropic growth**: the mean growth over fresh random directions. Near a minimum it is about
  `-lr tr(H) / P`, whatever the sharpest direction does: `from_neighbours(..., redraw=True)`.
- **Finite-time exponent**: growth over the horizon along directions that turn with the dynamics:
  `Exponent.value`, `Spectrum.values`. Its upper bound is the **finite-time maximum**, the growth of
  the direction that grows most (largest singular value of the product of Jacobians):
  `Spectrum.finite_time_maximum`.
- **Asymptotic exponent**: the limit of both for a long run (Oseledets 1968), the same for almost
  all directions: what `interval(over="time")` is an interval for. It is 0 for any converged network
  with flat directions, so that it ranks nothing there; the finite-time exponents do.

From neighbours (Eq. 4)
-----------------------
Train K perturbed copies of every system on the same batches with the same dropout masks; after each
segment of tau steps put each copy back to the radius along its own direction. With `D_i` the
separation of a copy in segment i, and the mean over the copies,

    lambda = 1 / T * sum_i mean ln( D_i(tau) / D_i(0) ).

The paper takes the mean before the logarithm (`average="paper"`). With K > 1 copies that do not
turn into one direction this adds an excess in every segment and drifts upwards: for the heavy ball
below critical damping, whose directions never agree, it does not tend to the exponent at all.

>>> import torch
>>> from lyapopt.dynamics.systems import Henon
>>> from lyapopt.exponents import from_neighbours, from_tangents, spectrum
>>> henon = Henon()
>>> z0 = henon.initial_state(systems=200)
>>> e = from_neighbours(henon, z0, 400, neighbours=1, radius=1e-9, burn_in=20)
>>> abs(e.value.mean().item() - 0.41922) < 2e-3
True

*Cost*: `(K + 1)` gradients a step, `2 K + 1` with `check_linearity`. *Bias*: (1) a random direction
holds only a share `1 / sqrt(P)` of the leading one, so that without `burn_in` the value is low by
up to `ln(P) / (2 T)`; `alignment` says how far the copies have turned. (2) Separations feel the
curvature of the map, in proportion to the radius: `linearity_error`. (3) Rounding adds
`eps |w| / radius` a step: float64 and 1e-6 are far from both ends for weights of norm 1 to 100.
Where the state outgrows the radius, that is raised to `sqrt(eps) |w|`; a segment in which rounding
swallowed a separation is left out (the flag `precision`). (4) Copies that point different ways
measure the mean over their directions, at most what the direction of fastest growth does (the flag
`unaligned`, where they grow at different rates). *Not to be used* in float32 with a small radius
(it is refused), or for more than the largest exponent.

From tangents (Benettin's algorithm)
------------------------------------
Push an orthonormal frame through the derivative of the whole update, orthonormalise by QR, and
average the logarithms of the diagonal of R:

    J_t Q_t = Q_{t+1} R_{t+1},    lambda_i = 1 / T * sum_t ln (R_t)_ii.

>>> s = spectrum(henon, z0[:20], 200, burn_in=20)
>>> bool((s.sum - torch.tensor(0.3, dtype=torch.float64).log()).abs().max() < 1e-12)
True
>>> abs(s.kaplan_yorke_dimension().mean().item() - 1.258) < 0.02
True

All `D = P (1 + slots) + buffers` exponents exist, and their sum is the mean of `ln |det J|` from
the first step on: `P ln(momentum)` for the heavy ball, whatever the network, rate or schedule.

*Cost*: 1 gradient for the reference and 2 for every tangent and step (the derivative of a gradient;
measured 2 to 3 in wide nets, much more where a step is all overhead), and `O(D k^2)` for QR.
*Memory*: `k` vectors of the state; never `P x P`. *Bias*: an exponent is off by `C / T` until its
direction has turned, at a rate of the gap to the next exponent: use `burn_in`. *Not to be used* for
maps that torch cannot differentiate in forward mode, or where a finite perturbation is meant: a
ReLU that is nowhere near its corner has the tangents of a linear net.

`from_tangents` pushes tangents that are rescaled one by one, as neighbours are: Eq. 4 in the limit
of a small radius, with the same directions for the same seed. It is right in float32 too, and tells
whether a radius was small enough:

>>> limit = from_tangents(henon, z0[:20], 50, tangents=2)
>>> close = from_neighbours(henon, z0[:20], 50, neighbours=2, radius=1e-8)
>>> bool((limit.value - close.value).abs().max() < 1e-5)
True

*Cost*: 3 gradients a step for one tangent, `2 K + 1` for K. *Bias*: (1) and (4) of neighbours.

Growth of a tangent counts what goes into momentum and moments; `Spectrum.weight_value` is its
growth over the weights alone, which a neighbour measures. They differ over short horizons only.

The v-block of Adam is singular at zero gradients. Tangents start in the weights unless more than P
are asked for (`perturb`), and a derivative of 0 is taken for the root at 0.

Intervals, and what they cover
------------------------------
`interval(level, over)` names its estimand. Over `time` it covers the asymptotic exponent, allowing
for serial correlation of either sign (see `lyapopt.exponents.intervals`; 92-97 % of 200 runs are
covered by 95 % intervals of 1.0-1.5 times the least width on the logistic map, Henon and SGD).
Over `neighbours` it covers this run's value for all directions; over `replicas` (systems that
differ in their seeds) the configuration's. With `redraw` all three are of the isotropic growth.

>>> low, high = e.interval(0.95, over="time")
>>> covered = ((low < 0.41922) & (0.41922 < high)).double().mean().item()
>>> 0.9 <= covered <= 0.99
True
>>> e.interval(over="replicas").estimand
'finite-time exponent of this configuration, averaged over its seeds'

One neighbour over five steps has nothing to average: NaN, and the flag `no-interval`. A transient
is no stationary series; the flag `not-converged` says where growth still drifts.

Flags
-----
Nothing is returned that is wrong without a flag that says so: see `Flag`. `-inf` is a value: it is
the exponent of a direction that the map annihilates (gradient descent with `lr h = 1`).

>>> halt = lambda z, t: 0 * z
>>> zero = from_neighbours(halt, torch.ones(1, 1, 2).double(), 5)
>>> zero.value.item(), [flag.name for flag in zero.flags[0]]
(-inf, ['collapsed', 'no-interval'])

Units
-----
Nats per step unless converted; every result and interval carries its unit.

>>> bits = e.in_units(base=2)
>>> bits.unit, bits.per, round((e.value / bits.value).mean().item(), 6)
('bits', 'step', 0.693147)

Sources
-------
Mitra, arXiv:2410.05988 (Eq. 4); Wolf, Swift, Swinney & Vastano, Physica D 16 (1985) 285; Kantz,
Phys. Lett. A 185 (1994) 77; Oseledets, Trans. Moscow Math. Soc. 19 (1968) 197; Benettin, Galgani,
Giorgilli & Strelcyn, Meccanica 15 (1980) 9; Eckmann & Ruelle, Rev. Mod. Phys. 57 (1985) 617;
Kaplan & Yorke, Lecture Notes in Mathematics 730 (1979) 204.
"""

from lyapopt.exponents.benettin import spectrum
from lyapopt.exponents.flags import Flag
from lyapopt.exponents.intervals import Interval
from lyapopt.exponents.neighbours import from_neighbours
from lyapopt.exponents.quantities import Quantity
from lyapopt.exponents.results import Exponent, Spectrum
from lyapopt.exponents.tangents import from_tangents

__all__ = [
    "Exponent",
    "Flag",
    "Interval",
    "Quantity",
    "Spectrum",
    "from_neighbours",
    "from_tangents",
    "spectrum",
]
