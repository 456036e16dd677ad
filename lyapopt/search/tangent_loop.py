"""A reference in a loop's own precision with tangents: for networks that do not run in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.errors import PrecisionError, TrainingError
from lyapopt.exponents.derivatives import verify_once
from lyapopt.exponents.growth import SeparationLog
from lyapopt.exponents.neighbours import exponent_of
from lyapopt.exponents.tangents import TangentEnsemble, differentiable
from lyapopt.probe import Measurement, Probe
from lyapopt.probe.probe import is_maximized
from lyapopt.probe.run import ProbeRun
from lyapopt.probe.settled import settled
from lyapopt.probe.verdicts import relative_fall, tail_length
from lyapopt.search.loop_batches import copied_batch
from lyapopt.search.loop_step import LoopStep, LossOfBatch, Pass
from lyapopt.search.model_copy import ModelCopy, random_direction


class TangentLoop:
    """A copy of a model and its optimiser with tangent vectors, which follows a loop.

    Args:
        model, optimizer: The user's.
        around: What a pass of the model reaches.
        first: Loss, batch and weight of the first batch.
        probe: Horizon, number of tangents, and the thresholds of verdicts.
        clip_grad_norm: The norm that gradients are clipped to, if they are.
        seeds: Of the directions, one for each tangent: those of as many neighbours.

    Attributes:
        gradients_of_start: Gradient evaluations that were spent to check the derivative.
        gradients_of_batch: Gradient evaluations of a batch: a tangent costs two.

    Raises:
        PrecisionError: If there are no tangents.
        TrainingError: If the loss reads what is not in the copy, or depends on earlier passes.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        around: Surroundings,
        first: tuple[LossOfBatch, Any, float],
        probe: Probe,
        clip_grad_norm: float | None,
        seeds: Sequence[int],
    ) -> None:
        loss_of, batch, weight = first
        self._copy = ModelCopy.of(model, optimizer)
        dtypes = {p.dtype for p in self._copy.parameters}
        if not dtypes <= {torch.float32, torch.float64}:
            raise PrecisionError("they need float32 at least")
        self._probe = probe
        self._copy.imitate(model, around)
        self._copy.check(model, lambda copied: loss_of(copied, copied_batch(batch)))
        try:
            with differentiable():
                own = Pass.of(self._copy.model, loss_of, batch, weight)
                self._step = LoopStep(self._copy, clip_grad_norm, own)
                z = self._step.initial
                self.gradients_of_start = verify_once(self._step, self._step.push, z, 0)
        except Exception as error:
            raise PrecisionError(f"{type(error).__name__}: {error}") from error
        self._step.passes = []
        tangents = torch.zeros_like(z).repeat(1, len(seeds), 1)
        block = self._step.weights(tangents)
        for k, seed in enumerate(seeds):
            block[0, k] = random_direction(block.shape[-1], seed).to(block)
        self._ensemble = TangentEnsemble(self._step, z, len(seeds), [0], None, tangents)
        self._log = SeparationLog(self._ensemble)
        self._log.begin()
        self._tail = self.weights()
        self.gradients_of_batch = 1 + 2 * probe.neighbours

    def weights(self) -> Tensor:
        """Those of the reference, `(P,)`."""
        return self._step.weights(self._ensemble.reference)[0, 0].clone()

    def observe(
        self,
        model: nn.Module,
        around: Surroundings,
        loss_of: LossOfBatch,
        batch: Any,
        weight: float,
    ) -> None:
        """Take another batch for the next step."""
        if self._copy.imitate(model, around):
            raise TrainingError(
                "watch: other parameters are trained than at the first step, which tangents cannot "
                "follow; freeze and thaw before, or watch from then on"
            )
        self._step.passes.append(Pass.of(self._copy.model, loss_of, batch, weight))

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """A step with the hyperparameters of the user's optimiser; whether it was the last."""
        t, horizon = len(self._log.ends), self._probe.horizon
        if t == horizon - tail_length(horizon):
            self._tail = self.weights()
        self._copy.set_hyperparameters(optimizer)
        with differentiable():
            self._ensemble.advance(t)
        self._step.passes = []
        self._log.add_step()
        self._log.end_segment()
        self._ensemble.rescale(t + 1)
        self._log.begin_segment()
        is_finite = bool(torch.isfinite(self._log.separations[-1]).all())
        return t + 1 == horizon or not is_finite

    @property
    def loss(self) -> float:
        """The mean loss of the last step's batches."""
        return float(self._log.losses[-1])

    def measurement(self, gradients: int, examples: int) -> Measurement:
        """What was measured, at this cost."""
        exponent = exponent_of(
            self._log,
            self._probe.neighbours,
            segment=1,
            burn_in=0,
            gradient_evaluations=gradients,
        )
        end = self.weights()
        run = ProbeRun(exponent, self._tail.unsqueeze(0), end.unsqueeze(0))
        losses = torch.stack(self._log.losses)[:, 0, 0].double().numpy()
        rule, level = self._probe.rule, self._probe.level
        value, low, high, estimand = settled(exponent, 0, self._probe.settle, level)
        fall = relative_fall(-losses if is_maximized(self._copy.optimizer) else losses)
        return Measurement(
            exponent=value,
            low=low,
            high=high,
            level=level,
            estimand=estimand,
            verdict=rule.judge(
                value,
                low,
                high,
                losses,
                is_finite=bool(torch.isfinite(end).all()),
                stands_still=run.stands_still(exponent.radius)[0],
            ),
            flags=exponent.flags[0],
            losses=np.asarray(losses),
            log_separations=exponent.log_separations[:, 0].double().cpu().numpy(),
            gradient_evaluations=gradients,
            examples=examples,
            dtype=str(end.dtype).removeprefix("torch."),
            estimator="tangent",
            loss_fall=fall,
            slow=rule.is_slow(fall),
        )
