"""Trials that train together: probed, checked and pruned side by side."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from lyapopt.dynamics.compilation import Compile
from lyapopt.dynamics.stack import AnySystem, read_system
from lyapopt.dynamics.system import Known, System
from lyapopt.errors import TrainingError
from lyapopt.probe import Probe, Verdict, reference_of
from lyapopt.search.candidate import Candidate, Checkpoint, Outcome
from lyapopt.search.training_stack import Row, TrainingStack
from lyapopt.settings import NanPolicy, RecordSettings, Value


@dataclass(frozen=True)
class GroupSettings:
    """How trials are trained.

    Args:
        probe: The measurement that the first steps of each trial are.
        record: What is kept of each.
        value: What a trial's value is: final validation `loss`, or `metric`; the `exponent`, for
            which nothing is trained beyond the probe; or `both`, final loss and exponent.
        nan: What becomes of a trial whose loss stops being finite.
        reports: How often a trial is evaluated at most: after the probe, and then evenly.
        seed: Study seed.
        compile: Whether steps are compiled (see `TrainingMap`).
    """

    probe: Probe
    record: RecordSettings
    value: Value = "loss"
    nan: NanPolicy = "prune"
    reports: int = 10
    seed: int = 0
    compile: Compile = "auto"


class Listener(Protocol):
    """What is called while a group trains."""

    def measured(self, candidate: Candidate) -> None:
        """The probe of a candidate is done."""

    def evaluated(self, candidate: Candidate, value: float) -> None:
        """A candidate was evaluated; the listener may end it by setting its outcome."""

    def lets_through(self, candidate: Candidate) -> bool:
        """Whether a candidate without an exponent is trained on, whatever its losses say."""


class TrainingGroup:
    """Trains candidates of any structures side by side, each to its own number of steps.

    Candidates of equal structure share a stacked tensor. All stacks go on to the next checkpoint
    before any candidate is reported, and reports come in the order of trial numbers, so that a
    pruner sees the same history however the group falls apart into stacks. Candidates that have
    ended leave their stack at the checkpoint.

    Their places are not given to new trials. Those would be at another step than the rest, and so
    in a stack of their own, which saves nothing over the next group; and what a sampler knows would
    come to depend on when others ended, so that one trial could not be repeated without the group.
    Where an ended row is missed most, in networks so small that a step costs the same for 4 rows as
    for 16, training is about a tenth of a trial's time, and Optuna most of the rest (measured by
    `lyapopt bench speed --only trials --only studies`).

    Args:
        candidates: Trials with a training.
        settings: How they are trained.
        listener: Called with measurements and values; may end candidates.
        worst: The value that a diverged trial gets under `nan: worst`.
        slow: Share of its first loss that a candidate's loss must have fallen by over the horizon
            to be measured at all; `None` measures all, along with their first steps.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        settings: GroupSettings,
        listener: Listener,
        worst: float = math.inf,
        slow: float | None = None,
    ) -> None:
        self._candidates = sorted(candidates, key=lambda candidate: candidate.number)
        self._settings = settings
        self._listener = listener
        self._worst = worst
        self._slow = slow
        self._limits: dict[int, tuple[float, float]] = {}

    def train(self) -> None:
        """Train until every candidate has an outcome."""
        for candidate in self._candidates:
            self._check_steps(candidate)
        stacks = self._probed_stacks([c for c in self._candidates if c.is_running])
        self._run_neighbours(stacks)
        if self._settings.value == "exponent":
            for candidate in self._candidates:
                self._end_with_exponent(candidate)
            return
        due = {c.number: self._schedule(c) for c in self._candidates if c.is_running}
        self._check(stacks, due)
        while stacks := [running for stack in stacks if (running := stack.of_running())]:
            step = min(due[c.number][0] for stack in stacks for c in stack.candidates)
            for stack in stacks:
                stack.advance(step)
            self._check(stacks, due)

    def _run_neighbours(self, stacks: list[TrainingStack]) -> None:
        """Measure what is not measured yet, and let the listener know of all.

        What the losses say of a trial is asked once those before it are known. The few that are
        let through all the same come last; no decision about others depends on their exponents.
        """
        self._measure_beside(stacks, [c for c in self._candidates if c.measurement is None])
        measured = [c for c in self._candidates if c.measurement is not None and c.is_running]
        for candidate in measured:
            self._listener.measured(candidate)
        passing = [c for c in measured if c.exponent is None and self._listener.lets_through(c)]
        self._measure_beside(stacks, passing)
        for candidate in passing:
            if candidate.is_running:
                self._listener.measured(candidate)
        for stack in stacks:
            stack.end_probe()

    def _measure_beside(self, stacks: list[TrainingStack], candidates: list[Candidate]) -> None:
        """Measure some candidates whose first steps are trained."""
        numbers = {candidate.number for candidate in candidates if candidate.is_running}
        for stack in stacks:
            rows = [row for row, c in enumerate(stack.candidates) if c.number in numbers]
            if rows:
                self._measure_rows(stack, rows)

    def _measure_rows(self, stack: TrainingStack, rows: list[int]) -> None:
        """The same for rows of a stack; if that raises, row by row, so that one fails alone."""
        try:
            stack.measure_beside(self._settings.probe, rows)
        except Exception as error:
            if len(rows) == 1:
                stack.candidates[rows[0]].fail("first steps", error)
                return
            for row in rows:
                if stack.candidates[row].exponent is None:
                    self._measure_rows(stack, [row])

    def _check_steps(self, candidate: Candidate) -> None:
        """Fail a candidate whose training has no end, or one within the probe."""
        assert candidate.training is not None
        steps, horizon = candidate.training.steps, self._settings.probe.horizon
        if steps is None and self._settings.value != "exponent":
            advice = "a study needs to know where a training ends: Training(..., steps=1000)"
            candidate.outcome = Outcome("failed", reason=f"training: steps is missing; {advice}")
        elif steps is not None and steps < horizon:
            reason = f"training: {steps} steps are fewer than the probe's horizon of {horizon}"
            candidate.outcome = Outcome("failed", reason=reason)

    def _end_with_exponent(self, candidate: Candidate) -> None:
        """The exponent is the value, and the probe was the whole training."""
        if not candidate.is_running or candidate.measurement is None:
            return
        exponent = candidate.measurement.exponent
        if candidate.verdict == Verdict.DIVERGED or not math.isfinite(exponent):
            self._end_without_value(candidate, exponent)
        else:
            candidate.outcome = Outcome("complete", exponent)

    def _schedule(self, candidate: Candidate) -> list[int]:
        """Steps after which a candidate is evaluated, the last of them the end."""
        assert candidate.training is not None
        assert candidate.training.steps is not None
        return checkpoint_steps(
            self._settings.probe.horizon, candidate.training.steps, self._settings.reports
        )

    def _probed_stacks(self, candidates: list[Candidate]) -> list[TrainingStack]:
        """Candidates by structure, measured; one that cannot be read or stepped fails alone."""
        alike: dict[Hashable, list[Row]] = {}
        known: Known = {}
        for candidate in candidates:
            assert candidate.training is not None
            try:
                system = read_system(candidate.training, known)
                self._prepare(candidate, system)
            except Exception as error:
                candidate.fail("training", error)
            else:
                alike.setdefault(self._structure(candidate, system), []).append((candidate, system))
        return [stack for rows in alike.values() for stack in self._probed(rows)]

    def _prepare(self, candidate: Candidate, system: AnySystem) -> None:
        """Decide how a candidate is measured, unless a sampler has measured it already."""
        assert candidate.training is not None
        start = candidate.start
        if start is not None and not (
            isinstance(system, System)
            and start.probe == self._settings.probe
            and torch.equal(start.initial, system.flat_weights().to(start.initial))
        ):
            candidate.start = None
        if candidate.start is None:
            candidate.reference = reference_of(candidate.training, self._settings.probe)

    def _structure(self, candidate: Candidate, system: AnySystem) -> Hashable:
        """What candidates of one stack have in common: structure, and where they begin."""
        start, reference = candidate.start, candidate.reference
        if start is not None:
            return system.structure, start.steps is None
        assert reference is not None
        return system.structure, reference.is_own, reference.estimator

    def _probed(self, rows: list[Row]) -> list[TrainingStack]:
        """Stack and measure rows; if that raises, row by row, so that one row fails alone."""
        settings = self._settings
        is_whole = settings.value == "exponent"
        try:
            stacks = TrainingStack.of(rows, settings.record, settings.seed, settings.compile)
            for stack in stacks:
                if stack.candidates[0].start is not None:
                    stack.take_over_starts(is_whole)
                elif self._slow is not None and stack.can_begin_alone(settings.probe):
                    stack.begin_alone(settings.probe, self._slow)
                else:
                    stack.measure(settings.probe, is_whole)
        except Exception as error:
            if len(rows) > 1:
                return [stack for row in rows for stack in self._probed([row])]
            rows[0][0].fail("first steps", error)
            return []
        return stacks

    def _check(self, stacks: list[TrainingStack], due: dict[int, list[int]]) -> None:
        """Evaluate what is due, then report in the order of trial numbers."""
        values: dict[int, float] = {}
        for stack in stacks:
            rows = [
                row
                for row, candidate in enumerate(stack.candidates)
                if candidate.is_running and due[candidate.number][0] <= stack.t
            ]
            values.update(self._evaluate(stack, rows))
        for candidate in self._candidates:
            if candidate.number in values and candidate.is_running:
                due[candidate.number].pop(0)
                self._report(candidate, values[candidate.number], not due[candidate.number])
        for stack in stacks:
            stack.keep_models()

    def _evaluate(self, stack: TrainingStack, rows: list[int]) -> dict[int, float]:
        finite = stack.are_finite()
        found = {stack.candidates[row].number: math.nan for row in rows if not finite[row]}
        found.update(self._evaluate_finite(stack, [row for row in rows if finite[row]]))
        return found

    def _evaluate_finite(self, stack: TrainingStack, rows: list[int]) -> dict[int, float]:
        """Values of some rows; if that raises, row by row, so that one row fails alone."""
        if not rows:
            return {}
        try:
            checkpoints = stack.evaluate(rows)
        except Exception as error:
            if len(rows) > 1:
                parts = [self._evaluate_finite(stack, [row]) for row in rows]
                return {number: value for part in parts for number, value in part.items()}
            stack.candidates[rows[0]].fail("evaluation", error)
            return {}
        found: dict[int, float] = {}
        for row, checkpoint in zip(rows, checkpoints, strict=True):
            candidate = stack.candidates[row]
            try:
                found[candidate.number] = self._value(checkpoint)
            except TrainingError as error:
                candidate.fail("evaluation", error)
        return found

    def _value(self, checkpoint: Checkpoint) -> float:
        """The value that a checkpoint is reported with."""
        if self._settings.value in ("loss", "both"):
            return checkpoint.loss
        if checkpoint.metric is None:
            raise TrainingError("value: metric, but the training has no metric")
        return checkpoint.metric

    def _report(self, candidate: Candidate, value: float, is_last: bool) -> None:
        if not math.isfinite(value):
            self._end_without_value(candidate, value)
            return
        blow_up = self._blow_up(candidate)
        if blow_up is not None:
            candidate.verdict, candidate.has_blown_up = Verdict.DIVERGED, True
        self._listener.evaluated(candidate, value)
        if candidate.is_running and blow_up is not None:
            self._end_as_policy_says(candidate, f"diverged: {blow_up}, far above the first ones")
        elif candidate.is_running and is_last:
            both = self._settings.value == "both"
            measured = candidate.measurement
            exponent = math.nan if measured is None else measured.exponent
            if both and not math.isfinite(exponent):
                self._end_without_value(candidate, exponent)
                return
            candidate.outcome = Outcome("complete", (value, exponent) if both else value)

    def _blow_up(self, candidate: Candidate) -> str | None:
        """How the loss has come far above the first ones; `None` if it has not.

        A trial has diverged also where its loss has come down again by the evaluation.
        """
        assert candidate.measurement is not None
        losses = candidate.measurement.losses
        if candidate.number not in self._limits:  # asked at every evaluation
            limit = self._settings.probe.rule.highest_loss(losses)
            self._limits[candidate.number] = float(losses.max()), limit
        highest, limit = self._limits[candidate.number]
        if not highest <= limit:  # or it is no number
            return f"the loss came to {highest:.3g} within the first {len(losses)} steps"
        latest = candidate.checkpoints[-1]
        return (
            f"the loss is {latest.loss:.3g} at step {latest.step}" if latest.loss > limit else None
        )

    def _end_without_value(self, candidate: Candidate, value: float) -> None:
        """End a candidate whose weights, loss or metric are not finite, as the policy says."""
        latest = candidate.checkpoints[-1] if candidate.checkpoints else None
        if latest is not None and latest.step == candidate.steps and math.isfinite(latest.loss):
            reason = f"the value is {value} at step {candidate.steps}, though the loss is finite"
        else:
            candidate.verdict = Verdict.DIVERGED
            reason = f"diverged: weights or loss are not finite by step {candidate.steps}"
        self._end_as_policy_says(candidate, reason)

    def _end_as_policy_says(self, candidate: Candidate, reason: str) -> None:
        match self._settings.nan:
            case "prune":
                candidate.outcome = Outcome("pruned", reason=reason)
            case "fail":
                candidate.outcome = Outcome("failed", reason=reason)
            case "worst":
                is_pair = self._settings.value == "both"
                worst = (self._worst, self._worst) if is_pair else self._worst
                candidate.outcome = Outcome("complete", worst, reason)


def checkpoint_steps(horizon: int, steps: int, reports: int) -> list[int]:
    """After the horizon, then evenly up to the last step, at most `reports` in all.

    Example:
        >>> checkpoint_steps(20, 600, 5)
        [20, 165, 310, 455, 600]
    """
    if steps <= horizon or reports < 2:
        return [steps]
    later = (horizon + (steps - horizon) * k / (reports - 1) for k in range(reports))
    return sorted({round(step) for step in later})
