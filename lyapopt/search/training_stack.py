"""Candidates of equal structure in one stacked tensor: measured, trained and evaluated together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapopt.dynamics import AnyTrainingMap
from lyapopt.dynamics.compilation import Compile
from lyapopt.dynamics.stack import AnySystem, maps_of
from lyapopt.probe import Measurement, Probe
from lyapopt.probe.probe import FORWARD_COST
from lyapopt.search.candidate import Candidate, Checkpoint, Outcome
from lyapopt.search.trajectory_recorder import Recorder
from lyapopt.settings import RecordSettings

Row = tuple[Candidate, AnySystem]
"""A candidate and its training, read."""


@dataclass
class TrainingStack:
    """Candidates of equal structure, one a row.

    Attributes:
        candidates: The candidates.
        step: Their training map.
        z: Their states, `(candidates, 1, D)`.
        recorder: What is kept of their trajectories.
        t: Steps done.
    """

    candidates: list[Candidate]
    step: AnyTrainingMap
    z: Tensor
    recorder: Recorder
    t: int = 0

    @classmethod
    def of(
        cls, rows: Sequence[Row], record: RecordSettings, seed: int, compile: Compile
    ) -> list[TrainingStack]:
        """One stack, or one a row where running them together shows that they differ.

        Args:
            rows: Candidates of equal structure.
            record: What is kept of their trajectories.
            seed: Study seed.
            compile: Whether steps are compiled.
        """
        found = []
        for positions, step in maps_of([system for _, system in rows], compile):
            candidates = [rows[position][0] for position in positions]
            recorder = Recorder(record, seed, [candidate.number for candidate in candidates])
            found.append(cls(candidates, step, step.initial_state(), recorder))
        return found

    def measure(self, probe: Probe) -> None:
        """Take the first steps as a probe, and give every candidate its measurement and cost."""

        def observe(t: int, z: Tensor, losses: Tensor | None) -> None:
            assert losses is not None
            self.recorder.observe(self.step, t, z, losses)

        try:
            run = probe.run(self.step, self.z, observe)
        finally:  # what is spent is spent, also where the probe is interrupted
            spent = self.step.gradient_evaluations // len(self.candidates)
            self._charge(spent)
        measurements = probe.read(self.step, run)
        self.z, self.t = run.exponent.final_state, probe.horizon
        for candidate, measurement in zip(self.candidates, measurements, strict=True):
            candidate.gradient_evaluations += measurement.gradient_evaluations - spent
            self._give(candidate, measurement)

    def take_over_starts(self) -> None:
        """Take over the first steps that a sampler has probed, instead of repeating them."""
        starts = [c.start for c in self.candidates if c.start is not None]
        horizon = starts[0].probe.horizon
        for t in range(horizon):
            losses = torch.stack([start.losses[t] for start in starts])
            weights = torch.stack([start.weights[t] for start in starts])
            self.recorder.observe_weights(t, weights, losses)
        self.z, self.t = torch.stack([start.final for start in starts]).unsqueeze(1), horizon
        for candidate, start in zip(self.candidates, starts, strict=True):
            # Its cost is the sampler's, and is counted with the other probes.
            self._give(candidate, start.measurement)
            candidate.start = None

    def advance(self, until: int) -> None:
        """Train up to a step; if that raises, all candidates fail."""
        start = self.t
        try:
            with torch.no_grad():
                while self.t < until:
                    z, losses = self.step.step_with_losses(self.z, self.t)
                    self.recorder.observe(self.step, self.t, self.z, losses)
                    self.z, self.t = z, self.t + 1
        except Exception as error:
            for candidate in self.candidates:
                candidate.fail(f"step {self.t}", error)
        finally:  # also where a run is interrupted
            self._charge(self.t - start)
            for candidate in self.candidates:
                candidate.steps = self.t

    def are_finite(self) -> list[bool]:
        """Whether the state of each candidate is finite."""
        finite: list[bool] = torch.isfinite(self.z).all(-1)[:, 0].tolist()
        return finite

    def evaluate(self, row: int) -> Checkpoint:
        """Evaluate one candidate on its validation data, and charge it for that."""
        candidate = self.candidates[row]
        evaluation = self.step.evaluate(self.z, [row])
        metric = None if evaluation.metrics is None else evaluation.metrics[0]
        checkpoint = Checkpoint(self.t, evaluation.losses[0], metric)
        candidate.checkpoints.append(checkpoint)
        batches = evaluation.examples / self.step.batch_size
        candidate.gradient_evaluations += FORWARD_COST * batches
        return checkpoint

    def of_running(self) -> TrainingStack | None:
        """The stack without the candidates that have ended; `None` if all have."""
        rows = [row for row, candidate in enumerate(self.candidates) if candidate.is_running]
        if not rows:
            return None
        if len(rows) == len(self.candidates):
            return self
        kept = [self.candidates[row] for row in rows]
        self.recorder.keep([candidate.number for candidate in kept])
        return TrainingStack(kept, self.step.select(rows), self.z[rows], self.recorder, self.t)

    def _charge(self, gradient_evaluations: int) -> None:
        """Add gradient evaluations, the same for each, to what the candidates have cost."""
        for candidate in self.candidates:
            candidate.gradient_evaluations += gradient_evaluations
            candidate.examples += gradient_evaluations * self.step.batch_size

    def _give(self, candidate: Candidate, measurement: Measurement) -> None:
        """Let a candidate know what its first steps have shown."""
        candidate.recorder = self.recorder
        candidate.measurement, candidate.verdict = measurement, measurement.verdict
        candidate.steps = self.t
        if not math.isfinite(measurement.losses[0]):
            reason = f"the loss before the first step is {measurement.losses[0]}"
            candidate.outcome = Outcome("failed", reason=reason)
