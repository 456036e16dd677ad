"""One check of a map's derivative against differences, before exponents are made of it.

Forward-mode derivatives can be wrong without a word: torch's own through some fused operators under
`vmap` (2.13: normalisation from ATen, off by tens of percent), those of a user's own
`autograd.Function`, and those of a gradient in which something is detached, which is another
function of the weights than torch differentiates.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple
from weakref import WeakValueDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from lyapopt.dynamics import maps
from lyapopt.dynamics.maps import Map
from lyapopt.errors import UserError
from lyapopt.exponents.perturbations import embed, on_sphere, weight_positions

_TOLERANCE = 1e-2  # of what the step adds to the tangent
_LINEAR = 0.1  # of the same, by which differences that say anything agree
_CLOSER = 8.0  # ratio of the two radii

COST = 7
"""Gradient evaluations of a check, for each system: five steps, and a tangent that costs two."""

_verified: WeakValueDictionary[int, object] = WeakValueDictionary()  # maps by identity

Push = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""States and tangents, `(systems, 1, dim)` and `(1, systems, dim)`, a step further."""


class _Differences(NamedTuple):
    """Growth of a small difference, per radius, and how far it is from linear."""

    central: Float[Tensor, "systems dim"]
    bend: Float[Tensor, "systems dim"]


def verify_once(step: Map, push: Push, z: Float[Tensor, "systems 1 dim"], t: int) -> int:
    """Verify the derivative of a map when it is first asked for.

    Returns:
        Gradient evaluations spent on each system: `COST`, or 0 for a map that is known.

    Raises:
        UserError: If a derivative is wrong.
    """
    if _verified.get(id(step)) is step:
        return 0
    verify_derivative(step, push, z, t)
    with suppress(TypeError):  # of what cannot be referred to weakly
        _verified[id(step)] = step
    return COST


def verify_derivative(step: Map, push: Push, z: Float[Tensor, "systems 1 dim"], t: int) -> None:
    """Compare a tangent pushed along one direction with central differences.

    Where the map is not smooth at `z` (a kink, a jump, rounding) differences to both sides, or with
    two radii, do not agree with each other; they then say nothing of the derivative.

    Raises:
        UserError: If a derivative is wrong.
    """
    systems, _, dim = z.shape
    positions = weight_positions(step, dim)
    width = dim if positions is None else len(positions)
    unit = embed(on_sphere([0], 1, width, 0), positions, dim).to(z).expand(systems, -1, -1)
    # Copies: a map may work in place.
    after, pushed = push(z.clone(), unit.movedim(1, 0).clone(), t)
    norm = torch.linalg.vector_norm(maps.weights(step, z), dim=-1, keepdim=True)
    radius = torch.finfo(z.dtype).eps ** (1 / 3) * norm.clamp(min=1.0)
    far = _differences(step, z, after, unit, radius, t)
    near = _differences(step, z, after, unit, radius / _CLOSER, t)
    error = (far.central - pushed[0]).abs()
    bend = torch.maximum(far.bend, (far.central - near.central).abs())
    # The identity in a step hides an error in the rest of it where the learning rate is small.
    size = (far.central - unit[:, 0]).abs()
    is_weight = torch.ones(dim, dtype=torch.bool, device=z.device)
    if positions is not None:
        is_weight = torch.zeros_like(is_weight)
        is_weight[positions] = True
    for block in (is_weight, ~is_weight & maps.has_tangent(step, dim).to(z.device)):
        off, unsure, moved = (_norm(part[:, block]) for part in (error, bend, size))
        is_linear = unsure < _LINEAR * moved
        is_wrong = is_linear & (off > 3 * unsure + _TOLERANCE * moved)
        if is_wrong.any():
            system = int(is_wrong.nonzero()[0])
            share = float(off[system] / moved[system])
            raise UserError(
                f"the forward-mode derivative of the map is wrong: at step {t} of system {system} "
                f"it differs by {share:.0%} from a central difference. An operation in the forward "
                "pass has a wrong derivative (such as an operator of torch.ops.aten called "
                "directly, or an autograd.Function), or something in it is detached. Take "
                "torch.nn's layers or torch.nn.functional, or measure with neighbours "
                "(training_exponent, from_neighbours), which need no derivatives"
            )


def _differences(
    step: Map,
    z: Float[Tensor, "systems 1 dim"],
    after: Float[Tensor, "systems 1 dim"],
    unit: Float[Tensor, "systems 1 dim"],
    radius: Float[Tensor, "systems 1 1"],
    t: int,
) -> _Differences:
    forth = maps.difference(step, step(z + radius * unit, t).detach(), after) / radius
    back = maps.difference(step, after, step(z - radius * unit, t).detach()) / radius
    return _Differences(((forth + back) / 2)[:, 0], (forth - back).abs()[:, 0])


def _norm(part: Float[Tensor, "systems block"]) -> Float[Tensor, " systems"]:
    norm: Tensor = torch.linalg.vector_norm(part.double(), dim=-1)
    return norm
