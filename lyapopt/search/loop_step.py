"""One step of a loop of the user's own as a map, with tangents, in the loop's own precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lyapopt.dynamics.maps import Losses, State
from lyapopt.dynamics.step_tangents import StepTangents
from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.dynamics.unstacked_state import layout_of
from lyapopt.search.loop_batches import copied_batch
from lyapopt.search.model_copy import ModelCopy

LossOfBatch = Callable[[nn.Module, Any], Tensor]
"""The loss of a copy of the model on a batch."""


class Pass(NamedTuple):
    """A batch of a step, which can be repeated.

    Attributes:
        loss_of: The loss of a copy on the batch.
        batch: The batch.
        weight: What the loss is multiplied by.
        around: What a pass of the copy reaches.
        draw_as_before: Puts generators where the user's own pass finds them.
    """

    loss_of: LossOfBatch
    batch: Any
    weight: float
    around: Surroundings
    draw_as_before: Callable[[], None]

    @classmethod
    def of(cls, model: nn.Module, loss_of: LossOfBatch, batch: Any, weight: float) -> Pass:
        """The pass that a copy makes now."""
        around = Surroundings(model, loss_of)
        return cls(loss_of, batch, weight, around, around.now())


class LoopStep:
    """The step that is taken on some batches, of a copy of a model and its optimiser.

    Args:
        copied: The copy.
        clip_grad_norm: The norm that gradients are clipped to, if they are.
        first: The first batch of the first step.

    Attributes:
        passes: The batches of the present step.
        initial: The state before the first step, `(1, 1, D)`.
    """

    def __init__(self, copied: ModelCopy, clip_grad_norm: float | None, first: Pass) -> None:
        self.passes = [first]
        self._copy = copied
        self._clip = clip_grad_norm
        self._parameters = copied.trained
        model, optimizer = copied.model, copied.optimizer
        has_stepped = bool(optimizer.state)
        self._state = layout_of(model, optimizer, self._parameters, self._take_step)
        self.initial: State = self._state.read(has_stepped).view(1, 1, -1)
        self._tangents = StepTangents(
            optimizer, self._state, self._parameters, list(model.buffers())
        )

    def weights(self, z: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows weights"]:
        """The weight block of a state, a view."""
        return z[..., : self._state.weights]

    @property
    def has_tangent(self) -> Bool[Tensor, " dim"]:
        """Which numbers of a state `push` moves tangents of: not those of buffers."""
        return ~self._state.is_buffer

    def __call__(self, z: State, t: int) -> State:
        """The state after a step on the present batches."""
        return self.step_with_losses(z, t)[0]

    def step_with_losses(self, z: State, t: int) -> tuple[State, Losses]:
        """One step, and the mean of the losses at `z`."""
        self._state.write(z[0, 0])
        loss = self._take_step()
        return self._state.read(has_stepped=True).view(1, 1, -1), loss.view(1, 1)

    def push(
        self, z: Float[Tensor, "1 1 dim"], tangents: Float[Tensor, "tangents 1 dim"], t: int
    ) -> tuple[Float[Tensor, "1 1 dim"], Float[Tensor, "tangents 1 dim"]]:
        """The next state, and tangents there.

        Raises:
            NotStackableError: If a pass reads a buffer that passes write: then there are none.
            RuntimeError: If an operation has no second derivative.
        """
        after, moved = self._tangents.push(z[0, 0], tangents[:, 0], self._losses, self._clip)
        return after.view(1, 1, -1), moved.unsqueeze(1)

    def _take_step(self) -> Tensor:
        """A step of the copy; the mean loss before."""
        optimizer, total = self._copy.optimizer, 0.0
        optimizer.zero_grad()
        for each, loss in zip(self.passes, self._losses(), strict=True):
            torch.autograd.backward(loss, inputs=self._parameters)
            total += float(loss.detach()) / each.weight / len(self.passes)
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._copy.take_step()
        return torch.tensor(total, dtype=torch.float64)

    def _losses(self) -> Iterator[Tensor]:
        """The losses on the present batches, as they are weighed in the gradient."""
        for each in self.passes:
            with each.around.kept():
                each.draw_as_before()
                with self._copy.passing():
                    loss = each.loss_of(self._copy.model, copied_batch(each.batch))
                with torch.enable_grad():
                    weighted = each.weight * loss
                yield weighted.reshape(())
