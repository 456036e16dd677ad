"""A reference and its neighbours as copies in float64, which follow a loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.probe import Measurement, Probe
from lyapopt.probe.verdicts import tail_length
from lyapopt.search.copied_neighbours import CopiedNeighbours
from lyapopt.search.float64_copy import Float64Copy, in_float64
from lyapopt.search.loop_step import LossOfBatch

_ROUNDING = 1e-8  # nats: a separation of 1e-6 beside weights of norm 1 is known to about this


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
        loss_of, batch = first[0], in_float64(first[1])
        reference.imitate(model, around)
        reference.check(model, lambda copied: loss_of(copied, batch))
        self._copies, self._start = [reference, *others], reference.weights()
        self._neighbours = CopiedNeighbours(reference, others, probe.radius, seeds)
        self._probe = probe
        self._clip = clip_grad_norm
        self._losses: list[float] = []
        self._batch_losses: list[float] = []
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
        losses, batch = [], in_float64(batch)
        for one in self._copies:
            # All copies, and then the user's own step, see the same dropout masks.
            with around.kept():
                losses.append(one.accumulate(lambda copied: loss_of(copied, batch), weight))
        self._batch_losses.append(losses[0])

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """A step with the hyperparameters of the user's optimiser; whether it was the last."""
        self._losses.append(float(np.mean(self._batch_losses)))
        self._batch_losses = []
        for one in self._copies:
            one.step(optimizer, self._clip)
        self._growth.append(self._neighbours.rescale())
        return len(self._growth) == self._probe.horizon or self._growth[-1] == math.inf

    @property
    def loss(self) -> float:
        """The mean loss of the last step's batches."""
        return self._losses[-1]

    def measurement(self, gradients: int, examples: int) -> Measurement:
        """What was measured, at this cost."""
        finite = [g for g in self._growth if math.isfinite(g)]
        # A separation may leave the weights for a step and come back from the momentum.
        has_collapsed = self._growth[-1] == -math.inf
        exponent = float(np.mean(finite)) if finite else math.nan
        if has_collapsed:
            exponent = -math.inf
        end, tail = self.weights(), tail_length(self._probe.horizon)
        losses = np.array(self._losses)
        is_full = len(finite) == self._probe.horizon
        is_frozen = is_full and max(map(abs, finite[-tail:])) < _ROUNDING
        is_flat = bool(np.ptp(losses[-tail:]) <= _ROUNDING * abs(losses[-tail:]).max())
        growth = np.nancumsum(self._neighbours.log_growth, axis=0)  # NaN: a step that is left out
        separations = np.vstack([np.zeros(growth.shape[1]), growth])
        return Measurement(
            exponent=exponent,
            low=None,
            high=None,
            level=self._probe.level,
            estimand="growth rate over the horizon, without an interval",
            verdict=self._probe.rule.judge(
                exponent,
                None,
                losses,
                is_finite=bool(torch.isfinite(end).all()),
                stands_still=is_frozen and (is_flat or torch.equal(end, self._start)),
            ),
            flags=(),
            losses=losses,
            log_separations=separations + math.log(self._probe.radius),
            gradient_evaluations=gradients,
            examples=examples,
        )
