"""A reference and its neighbours as copies in float64, which follow a loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.probe import Measurement, Probe
from lyapopt.probe.probe import is_maximized
from lyapopt.probe.verdicts import tail_length
from lyapopt.search.copied_measurement import measured
from lyapopt.search.copied_neighbours import CopiedNeighbours
from lyapopt.search.float64_copy import Float64Copy
from lyapopt.search.loop_batches import copied_batch
from lyapopt.search.loop_step import LossOfBatch


class CopiedLoop:
    """Copies of a model and its optimiser in float64, all but one of them perturbed.

    Args:
        model, optimizer: The user's.
        around: What a pass of the model reaches.
        first: Loss and batch of the first batch.
        probe: Horizon, radius, and the thresholds of verdicts.
        clip_grad_norm: The norm that gradients are clipped to, if they are.
        seeds: Of the perturbations, one for each neighbour.

    Attributes:
        gradients_of_start: Gradient evaluations before the first step.
        gradients_of_batch: Gradient evaluations of a batch.

    Raises:
        PrecisionError: If the model or the loss does not run in float64.
        TrainingError: If the loss reads what is not in the copy, or depends on earlier passes.
    """

    gradients_of_start = 0

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        around: Surroundings,
        first: tuple[LossOfBatch, Any],
        probe: Probe,
        clip_grad_norm: float | None,
        seeds: Sequence[int],
    ) -> None:
        reference, *others = [Float64Copy.of(model, optimizer) for _ in range(1 + len(seeds))]
        loss_of, batch = first
        reference.imitate(model, around)
        reference.check(model, lambda copied: loss_of(copied, copied_batch(batch, True)))
        self._copies = [reference, *others]
        self._tail: Tensor | None = None  # weights a quarter of the horizon before its end
        self._neighbours = CopiedNeighbours(reference, others, probe.radius, seeds)
        self._probe = probe
        self._clip = clip_grad_norm
        self._losses: list[NDArray[np.float64]] = []  # of all copies, at every step
        self._batch_losses: list[list[float]] = []
        self._growth: list[float] = []
        self.gradients_of_batch = len(self._copies)

    def weights(self) -> Tensor:
        """Those of the reference, `(P,)`."""
        return self._copies[0].weights()

    def observe(
        self,
        model: nn.Module,
        around: Surroundings,
        loss_of: LossOfBatch,
        batch: Any,
        weight: float,
    ) -> None:
        """Add the gradients of another batch."""
        has_frozen = [one.imitate(model, around) for one in self._copies]
        if any(has_frozen):
            self._neighbours.separate_what_is_trained()
        losses = []

        def loss(copied: nn.Module) -> Tensor:
            return loss_of(copied, copied_batch(batch, True))

        with around.kept():  # from here no other thread takes random numbers away
            for one in self._copies:
                # All copies, and then the user's own step, see the same dropout masks.
                with around.kept():
                    losses.append(one.accumulate(loss, weight))
        self._batch_losses.append(losses)

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """A step with the hyperparameters of the user's optimiser; whether it was the last."""
        if len(self._losses) == self._probe.horizon - tail_length(self._probe.horizon):
            self._tail = self.weights()
        self._losses.append(np.mean(self._batch_losses, axis=0))
        self._batch_losses = []
        for one in self._copies:
            one.step(optimizer, self._clip)
        self._growth.append(self._neighbours.rescale())
        return len(self._growth) == self._probe.horizon or self._growth[-1] == math.inf

    @property
    def loss(self) -> float:
        """The mean loss of the last step's batches."""
        return float(self._losses[-1][0])

    def measurement(self, gradients: int, examples: int) -> Measurement:
        """What was measured, at this cost."""
        return measured(
            log_growth=np.array(self._neighbours.log_growth),
            mean_growth=np.array(self._growth),
            losses=np.array(self._losses),
            tail_weights=self._tail,
            final_weights=self.weights(),
            probe=self._probe,
            is_maximized=is_maximized(self._copies[0].optimizer),
            gradients=gradients,
            examples=examples,
        )
