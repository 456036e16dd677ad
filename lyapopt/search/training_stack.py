"""Candidates of equal structure in one stacked tensor: measured, trained and evaluated together."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lyapopt import interruption
from lyapopt.dynamics import AnyTrainingMap
from lyapopt.dynamics.compilation import Compile
from lyapopt.dynamics.stack import AnySystem, briefly, maps_of
from lyapopt.probe import Measurement, Probe
from lyapopt.probe.first_steps import Beside, BesideTangents, FirstSteps
from lyapopt.probe.probe import FORWARD_COST
from lyapopt.search.candidate import Candidate, Checkpoint, Outcome
from lyapopt.search.trajectory_recorder import Recorder
from lyapopt.settings import RecordSettings

_SECONDS_BETWEEN_SHOWS = 0.2
_MOST_KEPT = 2**26  # bytes of a trial's first steps
_FEWEST_BITS = 32  # of weights whose losses tell a small fall from none

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
        first: The first steps, while neighbours may still run beside them.
    """

    candidates: list[Candidate]
    step: AnyTrainingMap
    z: Tensor
    recorder: Recorder
    t: int = 0
    first: FirstSteps | None = field(default=None, init=False)
    _shown: float = field(default=0.0, init=False)

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

    def can_begin_alone(self, probe: Probe) -> bool:
        """Whether the first steps can be trained before anything is measured.

        Not where losses are coarser than in float32: they do not resolve a fall of one percent. Of
        a twin nothing needs to be kept for that. Where neighbours or tangents are to run beside the
        steps, these may take too much memory.
        """
        reference = self.candidates[0].reference
        if reference is None or torch.finfo(self.z.dtype).bits < _FEWEST_BITS:
            return False
        size = probe.horizon * self.z[0].numel() * self.z.element_size()
        return not reference.is_own or size <= _MOST_KEPT

    def begin_alone(self, probe: Probe, slow: float) -> None:
        """Train all candidates over the horizon, and measure those that the losses say enough of.

        Args:
            probe: The measurement.
            slow: Share of the first loss that the loss must have fallen by.
        """
        reference, step = self.candidates[0].reference, briefly(self.step)
        assert reference is not None
        kept = range(probe.horizon) if reference.is_own else (probe.tail_start,)

        def observe(t: int, z: Tensor, losses: Tensor | None) -> None:
            assert losses is not None
            self._show(self.candidates, losses)
            self.recorder.observe(step, t, z, losses)

        try:
            self.first = FirstSteps.of(step, self.z, probe.horizon, kept, observe)
        finally:  # what is spent is spent, also where the probe is interrupted
            _charge(
                self.candidates, step.gradient_evaluations // len(self.candidates), step.batch_size
            )
        measured = probe.read_losses(step, self.first, slow)
        for candidate, measurement in zip(self.candidates, measured, strict=True):
            candidate.recorder = self.recorder
            if measurement is not None:
                _give(candidate, measurement, self.recorder)
        self.z, self.t = self.first.final, probe.horizon
        self._set_steps()

    def measure_beside(self, probe: Probe, rows: Sequence[int]) -> None:
        """Measure some candidates whose first steps are known: beside these, or by their twins.

        Args:
            probe: The measurement.
            rows: Which candidates.
        """
        candidates = [self.candidates[row] for row in rows]
        reference = candidates[0].reference
        assert self.first is not None
        assert reference is not None
        if not reference.is_own:
            self._measure_twins(probe, candidates)
            return
        all_of_them = list(rows) == list(range(len(self.candidates)))
        step = briefly(self.step if all_of_them else self.step.select(rows))
        kind = BesideTangents if reference.estimator == "tangent" else Beside
        beside = kind(step, self.first, rows)
        own = replace(probe, estimator=reference.estimator)
        self._measure(own, beside, beside.initial_state(), candidates, None, probe.horizon)
        self._count_measuring(candidates, probe.horizon)

    def _keep_own_losses(
        self, probe: Probe, first: FirstSteps, candidates: Sequence[Candidate]
    ) -> None:
        """Twins say what neighbours do, and the trainings themselves how their losses have fallen:
        that is what has let them be measured.
        """
        losses, trainings = first.losses_of_all.cpu().numpy(), self.step.trainings
        numbers = {candidate.number for candidate in candidates}
        for row, candidate in enumerate(self.candidates):
            if candidate.number in numbers:
                assert candidate.measurement is not None
                candidate.measurement = probe.with_losses_of(
                    candidate.measurement, trainings[row], losses[:, row]
                )

    def _count_measuring(self, candidates: Sequence[Candidate], trained: int) -> None:
        """Count what measurements have cost beside the steps of the training among theirs."""
        for candidate in candidates:
            assert candidate.measurement is not None
            candidate.measuring += candidate.measurement.gradient_evaluations - trained

    def end_probe(self) -> None:
        """Let go of what was kept to measure candidates with."""
        self.first = None
        for candidate in self.candidates:
            candidate.reference = None

    def measure(self, probe: Probe, is_whole: bool = False) -> None:
        """Measure all candidates, and give each its measurement and cost.

        Where the training itself can be measured, its first steps are the probe; else a twin in
        another precision is, and the training begins at step 0.

        Args:
            probe: The measurement.
            is_whole: Whether nothing is trained beyond it: then the steps of twins are recorded.
        """
        reference = self.candidates[0].reference
        assert reference is not None
        if reference.is_own:
            own = replace(probe, estimator=reference.estimator)
            self.z = self._measure(own, self.step, self.z, self.candidates, self.recorder)
            if not is_whole:  # then it is what the study is for
                self._count_measuring(self.candidates, probe.horizon)
        else:
            self._measure_twins(probe, self.candidates, is_whole)
        if reference.is_own or is_whole:
            self.t = probe.horizon
            self._set_steps()
        self.end_probe()

    def _measure_twins(
        self, probe: Probe, candidates: Sequence[Candidate], is_whole: bool = False
    ) -> None:
        """Measure candidates by twins in another precision, from the beginning of the training."""
        references = [c.reference for c in candidates if c.reference is not None]
        for rows, step, own in probe.stacks(references):
            some = [candidates[row] for row in rows]
            recorder = self.recorder.of_rows([c.number for c in some]) if is_whole else None
            self._measure(own, step, step.initial_state(), some, recorder)
            if not is_whole:
                self._count_measuring(some, 0)
            if self.first is not None:
                self._keep_own_losses(probe, self.first, some)

    def _measure(
        self,
        probe: Probe,
        step: AnyTrainingMap | Beside,
        z0: Tensor,
        candidates: Sequence[Candidate],
        recorder: Recorder | None,
        charged: int = 0,
    ) -> Tensor:
        """Measure candidates by a map of them; the states of the references afterwards.

        Args:
            probe: The measurement.
            step: The map.
            z0: Initial states of the references.
            candidates: Whom they are of.
            recorder: Keeps the steps of the references, if these are to be kept.
            charged: Gradient evaluations of it that each of them has been charged with.
        """
        numbers = [candidate.number for candidate in candidates]
        kept = self.recorder.keeps_neighbours
        self.recorder.forget_neighbours(numbers)  # of an attempt that has failed

        def observe(t: int, z: Tensor, losses: Tensor | None) -> None:
            assert losses is not None
            self._show(candidates, losses)
            if recorder is not None:
                recorder.observe_weights(t, step.weights(z[:, 0]), losses[:, 0])
            if kept:
                (recorder or self.recorder).observe_neighbours(numbers, step.weights(z))

        try:
            run = probe.run(step, z0, observe)
        finally:  # what is spent is spent, also where the probe is interrupted
            spent = step.gradient_evaluations // len(candidates)
            _charge(candidates, spent, step.batch_size)
        for candidate, measurement in zip(candidates, probe.read(step, run), strict=True):
            candidate.gradient_evaluations += measurement.gradient_evaluations - spent - charged
            candidate.examples += measurement.examples - (spent + charged) * step.batch_size
            _give(candidate, measurement, recorder or self.recorder)
        return run.exponent.final_state

    def take_over_starts(self, is_whole: bool = False) -> None:
        """Take over what a sampler has probed, instead of repeating it.

        Args:
            is_whole: Whether nothing is trained beyond the probe.
        """
        starts = [c.start for c in self.candidates if c.start is not None]
        steps = [start.steps for start in starts if start.steps is not None]
        horizon = starts[0].probe.horizon
        if steps:
            for t in range(horizon):
                losses = torch.stack([first.losses[t] for first in steps])
                weights = torch.stack([first.weights[t] for first in steps])
                self.recorder.observe_weights(t, weights, losses)
            self.z = torch.stack([first.final for first in steps]).unsqueeze(1)
        if steps or is_whole:
            self.t = horizon
            self._set_steps()
        for candidate, start in zip(self.candidates, starts, strict=True):
            # Its cost is the sampler's, and is counted with the other probes.
            candidate.measuring -= horizon if steps else 0
            _give(candidate, start.measurement, self.recorder)
            candidate.start = None

    def advance(self, until: int) -> None:
        """Train up to a step; if that raises, all candidates fail."""
        start = self.t
        try:
            with torch.no_grad():
                while self.t < until:
                    interruption.poll()
                    z, losses = self.step.step_with_losses(self.z, self.t)
                    self.recorder.observe(self.step, self.t, self.z, losses)
                    self.z, self.t = z, self.t + 1
                    self._show(self.candidates, losses, self.t)
        except Exception as error:
            for candidate in self.candidates:
                candidate.fail(f"step {self.t}", error)
        finally:  # also where a run is interrupted
            _charge(self.candidates, self.t - start, self.step.batch_size)
            self._set_steps()

    def are_finite(self) -> list[bool]:
        """Whether the state of each candidate is finite."""
        finite: list[bool] = torch.isfinite(self.z).all(-1)[:, 0].tolist()
        return finite

    def evaluate(self, rows: Sequence[int]) -> list[Checkpoint]:
        """Evaluate some candidates on their validation data, and charge them for that.

        All of them together or, if that raises, none.
        """
        evaluation = self.step.evaluate(self.z, rows)
        batches = evaluation.examples / self.step.batch_size
        found = []
        for position, row in enumerate(rows):
            candidate = self.candidates[row]
            metric = None if evaluation.metrics is None else evaluation.metrics[position]
            found.append(Checkpoint(self.t, evaluation.losses[position], metric))
            candidate.checkpoints.append(found[-1])
            candidate.gradient_evaluations += FORWARD_COST * batches
        return found

    def keep_models(self) -> None:
        """Give the candidates that have ended their models, where these are wanted."""
        for row, candidate in enumerate(self.candidates):
            if candidate.keeps_model and candidate.model is None and not candidate.is_running:
                candidate.model = self.step.models(self.z)[row]

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

    def _show(
        self, candidates: Sequence[Candidate], losses: Tensor, steps: int | None = None
    ) -> None:
        """Let those who watch see losses and steps, several times a second."""
        now = time.monotonic()
        if now < self._shown + _SECONDS_BETWEEN_SHOWS:
            return
        self._shown = now
        for candidate, loss in zip(candidates, losses[:, 0].tolist(), strict=True):
            candidate.loss = loss
            candidate.steps = candidate.steps if steps is None else steps

    def _set_steps(self) -> None:
        for candidate in self.candidates:
            candidate.steps = self.t


def _charge(candidates: Sequence[Candidate], gradient_evaluations: int, batch_size: int) -> None:
    """Add gradient evaluations, the same for each, to what candidates have cost."""
    for candidate in candidates:
        candidate.gradient_evaluations += gradient_evaluations
        candidate.examples += gradient_evaluations * batch_size


def _give(candidate: Candidate, measurement: Measurement, recorder: Recorder) -> None:
    """Let a candidate know what its probe has shown."""
    candidate.recorder = recorder
    candidate.measurement, candidate.verdict = measurement, measurement.verdict
    if not math.isfinite(measurement.losses[0]):
        reason = f"the loss before the first step is {measurement.losses[0]}"
        candidate.outcome = Outcome("failed", reason=reason)
