"""Short-horizon measurement of many systems at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lyapopt import interruption
from lyapopt.checks import Arguments
from lyapopt.dynamics import AnyTrainingMap, Training, stack
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.dynamics.training import as_list
from lyapopt.errors import UserError
from lyapopt.exponents import Exponent, from_neighbours, from_tangents
from lyapopt.exponents.ensemble import Observer
from lyapopt.probe.first_steps import Beside, FirstSteps
from lyapopt.probe.measurement import Measurement
from lyapopt.probe.reference import Reference, reference_of
from lyapopt.probe.run import ProbeRun
from lyapopt.probe.settled import settled, unmeasured
from lyapopt.probe.standstill import rest
from lyapopt.probe.verdicts import Verdict, VerdictRule, relative_fall, tail_length
from lyapopt.settings import ProbeSettings

FORWARD_COST = 1 / 3
"""Cost of a forward pass in gradient evaluations."""


@dataclass(frozen=True)
class Probe(ProbeSettings):
    """How systems are measured: a few steps, with a few perturbed copies on the same batches.

    Networks of any precision are measured as `reference_of` decides: a float32 network by a twin
    in float64 that begins with the same weights and sees the same batches and masks.

    Args:
        horizon: Steps of the measurement.
        neighbours: Perturbed copies of each system; the cost is `(neighbours + 1) * horizon`
            gradient evaluations.
        radius: Separation that neighbours start with and are rescaled to; tangents have none.
        segment: Steps between two rescalings.
        distance: Separation in `weights` or in `outputs` on a fixed batch.
        estimator: `neighbours`; `tangent`: derivatives instead of differences, as many tangent
            vectors as there would be neighbours, for `(2 * neighbours + 1) * horizon + 7` (a check
            of the derivative); or `auto`: neighbours wherever the network runs in float64, and
            tangents where it does not, which lose nothing to rounding in float32.
        level: Confidence level of the intervals.
        settle: Share of the horizon in which the neighbours turn into the growing direction: the
            exponent is the growth after it. 0 is Eq. 4 over the whole horizon, as published.
        rule: Thresholds between the verdicts.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(2, 1)
        >>> x = torch.eye(2)
        >>> training = Training(
        ...     model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1), (x, x[:, :1])
        ... )
        >>> [measurement] = Probe(horizon=10).measure([training])
        >>> measurement.exponent < 0, measurement.gradient_evaluations
        (True, 20.0)
    """

    rule: VerdictRule = field(default_factory=VerdictRule)

    def __post_init__(self) -> None:
        super().__post_init__()
        Arguments("Probe").instance("rule", self.rule, VerdictRule, "a VerdictRule")
        # Not in the settings: a study file says it with the place of its key (`check_study`).
        if self.estimator == "tangent" and self.distance != "weights":
            raise UserError("Probe: estimator 'tangent' measures in the weights only")

    @classmethod
    def of(cls, settings: ProbeSettings) -> Probe:
        """The probe with these settings, and the default thresholds."""
        return cls(**vars(settings))

    @property
    def tail_start(self) -> int:
        """Step from which on a training that does not move is dead."""
        return self.horizon - tail_length(self.horizon)

    def measure(self, trainings: Sequence[Training]) -> list[Measurement]:
        """Measure each training from its present state; nothing is trained in place.

        Args:
            trainings: Of any structures; those of equal structure are measured in one stack.

        Returns:
            One measurement a training, in their order.
        """
        found: dict[int, Measurement] = {}
        references = [reference_of(training, self) for training in as_list(trainings)]
        for positions, step, probe in self.stacks(references):
            measurements = probe.read(step, probe.run(step, step.initial_state()))
            found.update(zip(positions, measurements, strict=True))
        return [found[position] for position in range(len(references))]

    def stacks(
        self, references: Sequence[Reference]
    ) -> list[tuple[list[int], AnyTrainingMap, Probe]]:
        """What is measured together: positions of references, their map, and the probe to use."""
        found: list[tuple[list[int], AnyTrainingMap, Probe]] = []
        for estimator in dict.fromkeys(reference.estimator for reference in references):
            probe = replace(self, estimator=estimator)
            alike = [
                i for i, reference in enumerate(references) if reference.estimator == estimator
            ]
            stacks = stack(references[i].training for i in alike)
            found += [([alike[row] for row in rows], step, probe) for rows, step in stacks]
        return found

    def run(
        self, step: AnyTrainingMap | Beside, z0: Tensor, observe: Observer | None = None
    ) -> ProbeRun:
        """Train references and neighbours over the horizon.

        Args:
            step: Map of the systems, in a precision that the estimator can use (see `stacks`).
            z0: Their initial states, `(M, 1, D)`.
            observe: Called before each step with time, state and losses.
        """
        tail: list[Tensor] = []

        def watch(t: int, z: Tensor, losses: Tensor | None) -> None:
            interruption.poll()
            if t == self.tail_start:
                tail.append(step.weights(z[:, 0]).clone())
            if observe is not None:
                observe(t, z, losses)

        exponent = self._exponent(step, z0, watch)
        return ProbeRun(exponent, tail[0], step.weights(exponent.final_state[:, 0]))

    def _exponent(self, step: AnyTrainingMap | Beside, z0: Tensor, observe: Observer) -> Exponent:
        seeds = [derive_seed(training.seed, "perturbation") for training in step.trainings]
        if self.estimator == "tangent":
            return from_tangents(
                step,
                z0,
                self.horizon,
                tangents=self.neighbours,
                segment=self.segment,
                seed=seeds,
                observe=observe,
            )
        return from_neighbours(
            step,
            z0,
            self.horizon,
            neighbours=self.neighbours,
            radius=self.radius,
            segment=self.segment,
            distance=self.distance,
            seed=seeds,
            observe=observe,
        )

    def read(self, step: AnyTrainingMap | Beside, run: ProbeRun) -> list[Measurement]:
        """Measurements from a run, one a system."""
        exponent = run.exponent
        assert exponent.losses is not None
        losses = exponent.losses[:, :, 0].double().cpu().numpy()
        separations = exponent.log_separations.double().cpu().numpy()
        is_finite = torch.isfinite(exponent.final_state).all(-1)[:, 0].tolist()
        stands_still = run.stands_still(exponent.radius)
        gradients = exponent.gradient_evaluations
        found = []
        for row, training in enumerate(step.trainings):
            value, low, high, estimand = settled(exponent, row, self.settle, self.level)
            own = losses[:, row]
            fall = _fall(own, training)
            verdict = self.rule.judge(
                value, low, high, own, is_finite=is_finite[row], stands_still=stands_still[row]
            )
            found.append(
                Measurement(
                    exponent=value,
                    low=low,
                    high=high,
                    level=self.level,
                    estimand=estimand,
                    verdict=verdict,
                    flags=exponent.flags[row],
                    losses=own,
                    log_separations=separations[:, row],
                    gradient_evaluations=gradients + FORWARD_COST * exponent.forward_passes,
                    examples=gradients * step.batch_size,
                    dtype=str(exponent.final_state.dtype).removeprefix("torch."),
                    estimator="tangent" if self.estimator == "tangent" else "neighbours",
                    loss_fall=fall,
                    slow=self.rule.is_slow(fall),
                )
            )
        return found

    def with_losses_of(
        self, measurement: Measurement, training: Training, losses: NDArray[np.float64]
    ) -> Measurement:
        """A measurement by a twin, with the losses that the training itself had."""
        fall = _fall(losses, training)
        slow = self.rule.is_slow(fall)
        return replace(measurement, losses=losses, loss_fall=fall, slow=slow)

    def read_losses(
        self, step: AnyTrainingMap, first: FirstSteps, slow: float
    ) -> list[Measurement | None]:
        """What the losses of references say, before any neighbour is run.

        Args:
            step: The map that they were trained by.
            first: Their steps over the horizon.
            slow: Share of the first loss that the loss must have fallen by.

        Returns:
            A measurement without an exponent of each that has diverged or is slow; `None` where
            neighbours are to be run.
        """
        losses = first.losses_of_all
        tail = step.weights(first.states[self.tail_start][:, 0])
        stand_still = rest(losses, tail, step.weights(first.final[:, 0]))
        is_finite = torch.isfinite(first.final).all(-1)[:, 0].tolist()
        found: list[Measurement | None] = []
        for row, training in enumerate(step.trainings):
            own = losses[:, row].cpu().numpy()
            fall = _fall(own, training)
            has_diverged = self.rule.has_diverged(own, is_finite=is_finite[row])
            if not has_diverged and not fall < slow:
                found.append(None)
                continue
            still = Verdict.DEAD if stand_still[row] else Verdict.SLOW
            nothing = unmeasured(math.nan)
            found.append(
                Measurement(
                    exponent=nothing.value,
                    low=nothing.low,
                    high=nothing.high,
                    level=self.level,
                    estimand=nothing.estimand,
                    verdict=Verdict.DIVERGED if has_diverged else still,
                    flags=(),
                    losses=own,
                    log_separations=np.empty((self.horizon + 1, 0)),
                    gradient_evaluations=self.horizon,
                    examples=self.horizon * step.batch_size,
                    dtype=str(first.final.dtype).removeprefix("torch."),
                    loss_fall=fall,
                    slow=self.rule.is_slow(fall),
                )
            )
        return found


def _fall(losses: NDArray[np.float64], training: Training) -> float:
    return relative_fall(-losses if is_maximized(training.optimizer) else losses)


def is_maximized(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer makes the loss larger."""
    return any(group.get("maximize", False) for group in optimizer.param_groups)
