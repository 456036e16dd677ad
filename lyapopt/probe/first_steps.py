"""References that are trained before their neighbours, which then run beside what was kept.

Most of what a search draws is told by its loss alone. Neighbours cost as much as the reference
does, and tangents twice that, so that they are worth running after it, and only for what is left.
They see the same batches and masks at each step as if they had run with it; what differs is how
many rows a product of matrices had, and so the last bits of its sums.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lyapopt import interruption
from lyapopt.dynamics import AnyTrainingMap, Training, maps
from lyapopt.dynamics.maps import Losses, State
from lyapopt.exponents.ensemble import Observer


@dataclass(frozen=True)
class FirstSteps:
    """References over the horizon of a probe.

    Attributes:
        states: Those that are kept, by time, and the last one, `(M, 1, D)` each.
        losses: Before each step, `(M, 1)` each.
    """

    states: Mapping[int, Tensor]
    losses: Sequence[Tensor]

    @classmethod
    def of(
        cls,
        step: AnyTrainingMap,
        z0: Tensor,
        horizon: int,
        kept: Container[int],
        observe: Observer | None = None,
    ) -> FirstSteps:
        """Train references.

        Args:
            step: Map of the systems.
            z0: Their initial states, `(M, 1, D)`.
            horizon: Number of steps.
            kept: Times of the states that are kept; `Beside` needs all.
            observe: Called after each step with its time, and state and losses before it.
        """
        z, states, losses = z0, {}, []
        with torch.no_grad():
            for t in range(horizon):
                interruption.poll()
                after, loss = step.step_with_losses(z, t)
                if observe is not None:
                    observe(t, z, loss)
                if t in kept:
                    states[t] = z
                losses.append(loss)
                z = after
        states[horizon] = z
        return cls(states, losses)

    @property
    def losses_of_all(self) -> Tensor:
        """The losses of the references, `(horizon, M)`, in float64."""
        return torch.stack(list(self.losses))[:, :, 0].double()

    @property
    def final(self) -> Tensor:
        """The states after the last step, `(M, 1, D)`."""
        return self.states[len(self.losses)]


class Beside:
    """The map of references that are known already, and of neighbours that are trained.

    A state has the reference first, as of any ensemble. A step trains the rest of its rows.

    Args:
        step: Map of those systems that are measured.
        first: The first steps of all systems.
        rows: Which of those systems they are.
    """

    returns_new_states: ClassVar[bool] = True
    """A state that was returned is the caller's (`maps.returns_new_states`)."""

    def __init__(self, step: AnyTrainingMap, first: FirstSteps, rows: Sequence[int]) -> None:
        self._step = step
        self._first = first
        self._rows = list(rows)

    def initial_state(self) -> Tensor:
        """The references before their first step, `(rows, 1, D)`."""
        return self._first.states[0][self._rows]

    def __call__(self, z: State, t: int) -> State:
        """One step of the neighbours."""
        return self.step_with_losses(z, t)[0]

    def step_with_losses(self, z: State, t: int) -> tuple[State, Losses]:
        """One step of the neighbours, and all losses at `z`."""
        states, losses = self._step.step_with_losses(z[:, 1:], t)
        reference, own = self._first.states[t + 1][self._rows], self._first.losses[t][self._rows]
        return torch.cat([reference, states], 1), torch.cat([own, losses], 1)

    def weights(self, z: Tensor) -> Tensor:
        """The weight block of a state, a view."""
        return self._step.weights(z)

    def retract(self, z: Tensor) -> Tensor:
        """See `TrainingMap.retract`."""
        return self._step.retract(z)

    def outputs(self, z: State, examples: int = 256) -> Tensor:
        """See `TrainingMap.outputs`."""
        return self._step.outputs(z, examples)

    @property
    def gradient_evaluations(self) -> int:
        """Gradients computed so far: those of neighbours."""
        return self._step.gradient_evaluations

    @property
    def trainings(self) -> list[Training]:
        """The trainings, one a system."""
        return self._step.trainings

    @property
    def batch_size(self) -> int:
        """Examples of every system in a step."""
        return self._step.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every example is seen once."""
        return self._step.steps_per_epoch


class BesideTangents(Beside):
    """The map of references that are known already, and of tangents that are pushed along them.

    A state has the reference alone. What is differentiated is the map itself.
    """

    def __call__(self, z: State, t: int) -> State:
        """One step of any states."""
        return self._step(z, t)

    def step_with_losses(self, z: State, t: int) -> tuple[State, Losses]:
        """The references a step further, and their losses, as they are known."""
        return self._first.states[t + 1][self._rows], self._first.losses[t][self._rows]

    @property
    def push(self) -> maps.Push | None:
        """How the map moves tangents, if it does so itself."""
        return maps.push_of(self._step)

    @property
    def has_tangent(self) -> Tensor:
        """Which numbers of a state have tangents."""
        return maps.has_tangent(self._step, self._first.final.shape[-1])
