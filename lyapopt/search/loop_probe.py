"""A probe of a training that a library runs: its batches and its loss, and copies that train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lyapopt.probe import Measurement, Probe
from lyapopt.search.loop_step import LossOfBatch
from lyapopt.search.monitor import Monitor
from lyapopt.search.probing.building import Params, seeded
from lyapopt.search.probing.probes import Probed, optimizer_name
from lyapopt.search.steering.optimizer_rates import at_rate


@dataclass(frozen=True)
class Loop:
    """A training loop before its first step.

    Attributes:
        model: What is trained; it is copied.
        optimizer: Over its parameters; it is copied.
        batches: Reads as many batches.
        loss_of: The loss of a copy of the model on a batch, which is in its precision.
        accumulate: Batches whose mean gradient makes one step.
        clip_grad_norm: The norm that gradients are clipped to, if they are.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: Callable[[int], Sequence[Any]]
    loss_of: LossOfBatch
    accumulate: int = 1
    clip_grad_norm: float | None = None


@dataclass(frozen=True, kw_only=True)
class LoopProbe(Probe):
    """Measures a loop at several rates, one after the other, by the copies of a `Monitor`.

    Args:
        loop: The training.
        name: The rate's name among the parameters.
        seed: Seed of what the training draws, and of the perturbations.
    """

    loop: Loop
    name: str
    seed: int

    def probe_params(self, params: Sequence[Params]) -> list[Probed]:
        """What is measured at the rate of each of the parameters."""
        with seeded(self.seed):
            try:
                batches = self.loop.batches(self.horizon * self.loop.accumulate)
            except (Exception, SystemExit) as error:
                return [Probed(error=error, where="reading the batches")] * len(params)
        return [self._probed(given[self.name], batches) for given in params]

    def _probed(self, rate: float, batches: Sequence[Any]) -> Probed:
        optimizer = optimizer_name(self.loop.optimizer)
        try:
            with seeded(self.seed):
                return Probed(self._measure(rate, batches), optimizer=optimizer)
        except (Exception, SystemExit) as error:
            return Probed(optimizer=optimizer, error=error, where="first steps")

    def _measure(self, rate: float, batches: Sequence[Any]) -> Measurement:
        loop = self.loop
        monitor = Monitor(
            None,
            loop.model,
            at_rate(loop.optimizer, rate),
            None,
            horizon=self.horizon,
            neighbours=self.neighbours,
            radius=self.radius,
            accumulate=None,
            clip_grad_norm=loop.clip_grad_norm,
            rule=self.rule,
            seed=self.seed,
        )
        for position, batch in enumerate(batches, 1):
            monitor.observe_loss(loop.loss_of, batch, 1 / loop.accumulate)
            if position % loop.accumulate == 0:
                monitor.step()
            if monitor.measurement is not None:
                break
        assert monitor.measurement is not None
        return monitor.measurement
