"""What neighbours measure in the limit of no radius: growth of independent tangent vectors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from lyapopt.dynamics import maps
from lyapopt.dynamics.maps import Map
from lyapopt.errors import UserError
from lyapopt.exponents.checks import (
    check_average,
    check_burn_in,
    check_counts,
    check_map,
    check_state,
    check_step,
    no_type_check,
)
from lyapopt.exponents.derivatives import verify_once
from lyapopt.exponents.ensemble import Ensemble, Observer
from lyapopt.exponents.growth import Average, follow
from lyapopt.exponents.neighbours import exponent_of
from lyapopt.exponents.perturbations import seed_of_each, weight_norms
from lyapopt.exponents.results import Exponent


@no_type_check
def from_tangents(
    step: Map,
    z0: Float[Tensor, "systems 1 dim"],
    horizon: int,
    *,
    tangents: int = 1,
    segment: int = 1,
    burn_in: int = 0,
    average: Average = "logs",
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
        z0: Initial states of the references, `(M, 1, D)`, float32 or float64.
        horizon: Steps to measure over, after the burn-in.
        tangents: Vectors K of each system; with the same seed they start in the directions of as
            many neighbours.
        segment: Steps between two rescalings.
        burn_in: Steps before the measurement.
        average: See `from_neighbours`.
        seed: Directions follow from it; one number, or one a system.
        start: Time of the first step.
        observe: Called before each step with time, states `(M, 1, D)` and losses.

    Returns:
        Exponents in nats per step, `(M,)`, with `radius` 1 (that of the tangents) and cost:
        `(1 + 2 K) (burn_in + horizon)` gradient evaluations for each system, and 7 more where the
        map is differentiated for the first time: its derivative is compared with differences.

    Raises:
        UserError: If an argument is out of its range, the map cannot be differentiated, or its
            derivative is wrong.

    Source: Benettin, Galgani, Giorgilli & Strelcyn, Meccanica 15 (1980) 9-30.

    Example:
        >>> logistic = lambda z, t: 4 * z * (1 - z)
        >>> z0 = torch.linspace(0.01, 0.4, 100, dtype=torch.float64).view(-1, 1, 1)
        >>> abs(from_tangents(logistic, z0, 1000).value.mean().item() - 0.6931) < 0.01
        True
    """
    check_map(step, start, observe)
    horizon, tangents, segment = check_counts(horizon=horizon, tangents=tangents, segment=segment)
    burn_in = check_burn_in(burn_in)
    check_average(average)
    check_state(z0)
    ensemble = TangentEnsemble(step, z0, tangents, seed_of_each(seed, len(z0)), observe)
    with differentiable():
        log = follow(ensemble, horizon, segment, burn_in, start)
    return exponent_of(
        log,
        tangents,
        segment=segment,
        burn_in=burn_in,
        average=average,
        gradient_evaluations=(1 + 2 * tangents) * (burn_in + horizon) + ensemble.spent_on_check,
    )


class TangentEnsemble(Ensemble):
    """`M` references with `K` tangent vectors each: neighbours at no distance.

    Args:
        step: The map.
        z0: States of the references, `(M, 1, D)`.
        count: Tangents K of each system; they start in the directions of neighbours.
        seeds: Of the directions: one a system, or one for all.
        observe: Called before each step with the references.
        tangents: Those of the first segment, `(M, K, D)`; random ones by default.
    """

    is_infinitesimal = True
    _tangents: Tensor

    def __init__(
        self,
        step: Map,
        z0: Float[Tensor, "systems 1 dim"],
        count: int,
        seeds: Sequence[int],
        observe: Observer | None,
        tangents: Float[Tensor, "systems tangents dim"] | None = None,
    ) -> None:
        # Tangents have no extent, so that any radius will do.
        super().__init__(step, z0, torch.ones(count, dtype=torch.float64), 1, seeds, observe)
        self._z = z0.detach()
        self._push = TangentStep(step, None)
        self.redraw(time=0)
        if tangents is not None:
            self._tangents = tangents

    @property
    def spent_on_check(self) -> int:
        """Gradient evaluations for each system, spent on the check of the derivative."""
        return self._push.spent_on_check

    @property
    def reference(self) -> Float[Tensor, "systems 1 dim"]:
        """States of the references."""
        return self._z

    def advance(self, t: int) -> None:
        """One step of references and tangents."""
        before = self._z
        _, pushed = self._push(before, self._tangents.movedim(1, 0), t)
        # A map may work in place, and the observer is to see what was before.
        after, losses = maps.step_with_losses(self.step, before.clone(), t)
        self._z = after.detach()
        self._tangents = pushed.movedim(0, 1)
        self.losses = None if losses is None else losses.detach()
        if self._observe is not None:
            self._observe(t, before, self.losses)

    def rescale(self, time: int) -> None:
        """Put every tangent back to its length."""
        norms = self.weight_separations()
        norms_of_state = torch.linalg.vector_norm(self._tangents, dim=-1)
        factors = self._factors(self._nominal, norms, norms_of_state)
        self._tangents = self._tangents * factors.unsqueeze(-1)

    def redraw(self, time: int) -> None:
        """Replace the tangents by new random ones, which follow from the seeds and `time`."""
        self._tangents = self._drawn(time, self._nominal).expand(len(self._z), -1, -1)
        self._share = torch.ones_like(self._nominal)

    def differences(self) -> Float[Tensor, "systems tangents dim"]:
        """The tangents."""
        return self._tangents

    def weight_separations(self) -> Float[Tensor, "systems tangents"]:
        """Norms of the tangents over the weights."""
        return weight_norms(self.step, self._tangents)


class TangentStep:
    """Pushes states and tangent vectors through a map.

    The first way is `vmap` over tangents of `jvp` of the map, which computes the reference once.
    Maps with an operation that cannot be nested in it are stepped with one copy of the reference
    for each tangent on the axis of trajectories. A map that pushes tangents itself is left to.

    Args:
        step: The map.
        chunk: Tangents pushed at once; `None` is all of them.
    """

    def __init__(self, step: Map, chunk: int | None) -> None:
        self._step = step
        self._chunk = chunk
        self._is_nested = True
        self._is_verified = False
        self.spent_on_check = 0  # gradient evaluations for each system

    def __call__(
        self,
        z: Float[Tensor, "systems 1 dim"],
        tangents: Float[Tensor, "tangents systems dim"],
        t: int,
    ) -> tuple[Float[Tensor, "systems 1 dim"], Float[Tensor, "tangents systems dim"]]:
        """The next state and the tangents there.

        Raises:
            UserError: If the map cannot be differentiated in forward mode, or a derivative is wrong
                (checked in the first step of a map).
        """
        if not self._is_verified:
            self.spent_on_check = verify_once(self._step, self._push, z, t)
            self._is_verified = True
        z = z.clone()  # a map may work in place
        chunks = torch.split(tangents, self._chunk or len(tangents))
        after, moved = self._push(z, chunks[0], t)
        rest = [self._push(z, chunk, t)[1] for chunk in chunks[1:]]
        return after, torch.cat([moved, *rest]) if rest else moved

    def _push(self, z: Tensor, tangents: Tensor, t: int) -> tuple[Tensor, Tensor]:
        own = maps.push_of(self._step)
        if own is not None:
            return _explained(t, lambda: own(z, tangents, t))
        if self._is_nested:
            try:
                return self._nested(z, tangents, t)
            except (RuntimeError, NotImplementedError):
                self._is_nested = False  # tried once; the message of the other way is clearer
        return _explained(t, lambda: self._in_rows(z, tangents, t))

    def _nested(self, z: Tensor, tangents: Tensor, t: int) -> tuple[Tensor, Tensor]:
        def push(tangent: Tensor) -> tuple[Tensor, Tensor]:
            return cast(tuple[Tensor, Tensor], jvp(self._map(t), (z,), (tangent,)))

        # Batches are drawn by generators of their own, the same for all tangents.
        # The next state is the same for all tangents: `None`.
        over_tangents = vmap(push, out_dims=(None, 0), randomness="same")  # type: ignore[arg-type]
        after, moved = over_tangents(tangents.unsqueeze(2))
        return after.detach(), moved.detach()[:, :, 0]

    def _in_rows(self, z: Tensor, tangents: Tensor, t: int) -> tuple[Tensor, Tensor]:
        rows = z.expand(-1, len(tangents), -1).contiguous()
        along = tangents.movedim(0, 1).contiguous()
        after, moved = cast(tuple[Tensor, Tensor], jvp(self._map(t), (rows,), (along,)))
        return after.detach()[:, :1].contiguous(), moved.detach().movedim(1, 0)

    def _map(self, t: int) -> Callable[[Tensor], Tensor]:
        def step(z: Tensor) -> Tensor:
            after = self._step(z, t)
            check_step(z, after)
            return after

        return step


def _explained(t: int, push: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    try:
        return push()
    except RuntimeError as error:
        raise UserError(
            f"the map cannot be differentiated at step {t} ({error}); from_neighbours needs no "
            "derivatives"
        ) from error


@contextmanager
def differentiable() -> Iterator[None]:
    """What forward-mode differentiation needs: attention without fused kernels, no false alarms."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        # torch resizes a buffer of its own in the derivative of mse_loss and warns of it.
        warnings.filterwarnings("ignore", message="An output with one or more elements was resized")
        # torch compiles its own forward derivatives when they are first used.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        yield
