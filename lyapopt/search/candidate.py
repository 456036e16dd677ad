"""One trial on its way: parameters, training, what was measured, how it ended."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import optuna
import torch
from torch import nn

from lyapopt import interruption
from lyapopt.dynamics import Training
from lyapopt.errors import UserError
from lyapopt.probe import Measurement, Probe, Reference, Verdict
from lyapopt.search._optuna import attach, attached, logical_number
from lyapopt.search.probing.building import Params
from lyapopt.search.probing.probes import ProbedStart
from lyapopt.search.probing.records import ScreeningRecord, SteeringRecord
from lyapopt.search.trajectory_recorder import Recorder
from lyapopt.settings import RecordSettings
from lyapopt.store import Decision, RunRecord, new_run_id
from lyapopt.store.states import EndState

_NOT_USERS = (
    *(str(Path(file).parent) for file in (interruption.__file__, torch.__file__)),
    "<string>",
)
"""Code whose lines tell a user nothing about a refusal: ours, torch's, and that of dataclasses."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        state: `complete`, `pruned`, `failed` or `interrupted`.
        value: The objective's value, of a complete trial; a tuple if it has several.
        reason: Why it ended otherwise.
    """

    state: EndState
    value: float | tuple[float, ...] | None = None
    reason: str | None = None


@dataclass
class Checkpoint:
    """Loss and metric on the validation data after `step` steps."""

    step: int
    loss: float
    metric: float | None


@dataclass
class Candidate:
    """A trial that is being trained.

    Attributes:
        trial: Optuna's trial.
        number: Its logical number: randomness follows from it, and it outlives an interruption.
        run: Identifier of this run in the store.
        params: What was suggested.
        training: What `build(params)` gave, or `None` if it failed.
        measurement: What the probe found.
        verdict: The probe's verdict, or `diverged` if that came later.
        has_blown_up: Whether its loss is finite, and far above the first ones.
        checkpoints: Evaluations so far.
        steps: Optimiser steps done.
        loss: The latest training loss that it has shown, for those who watch.
        gradient_evaluations: Cost so far, neighbours and (a third each) forward passes counted.
        measuring: Of that cost, what measuring has taken beside training.
        examples: Training examples seen so far, neighbours counted.
        decisions: What pruners decided.
        outcome: How it ended; `None` while it runs.
        recorder: Its losses and weights.
        start: Its first steps, where a sampler has probed them already.
        reference: What its probe trains, until it is measured.
        steering: What the search for its learning rate cost, once that is charged to it.
        steering_probe: How that was measured, where the trial itself is measured otherwise.
        screening: What the choice between candidates cost, likewise.
        error: What it failed with, if it raised.
        probe: How it was measured, where its training is the user's own.
        kept: What is kept of it, likewise.
        reason: Why the pruner says to stop, likewise.
        is_leased: Whether the runner of a study writes it, which nobody else must then.
        keeps_model: Whether its trained model is wanted.
        model: That, a copy of the user's, once it has ended.
        started_at: When it was asked for.
    """

    trial: optuna.Trial
    number: int
    run: str
    params: Params = field(default_factory=dict)
    training: Training | None = None
    measurement: Measurement | None = None
    verdict: Verdict | None = None
    has_blown_up: bool = False
    checkpoints: list[Checkpoint] = field(default_factory=list)
    steps: int = 0
    loss: float | None = None
    gradient_evaluations: float = 0.0
    measuring: float = 0.0
    examples: int = 0
    decisions: list[Decision] = field(default_factory=list)
    outcome: Outcome | None = None
    recorder: Recorder | None = None
    start: ProbedStart | None = None
    reference: Reference | None = None
    steering: SteeringRecord | None = None
    steering_probe: Probe | None = None
    error: BaseException | None = None
    screening: ScreeningRecord | None = None
    probe: Probe | None = None
    kept: RecordSettings | None = None
    reason: str | None = None
    is_leased: bool = False
    keeps_model: bool = False
    model: nn.Module | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def of(cls, trial: optuna.Trial) -> Candidate:
        """The one of a trial whose training is the user's own: all that measure it share it."""
        known = attached(trial)
        if not isinstance(known, cls):
            known = cls(trial, logical_number(trial), new_run_id())
            attach(trial, known)
        return known

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.outcome is None

    @property
    def exponent(self) -> float | None:
        """The measured exponent, once there is one."""
        measured = self.measurement
        return None if measured is None or measured.is_of_losses else measured.exponent

    def adopt(self, other: Candidate, probe: Probe, kept: RecordSettings | None) -> None:
        """Take over what was measured by an objective that this trial's own objective has called.

        Args:
            other: The same trial, as that objective ran it.
            probe: How it was measured.
            kept: What is kept of it, if anything is.
        """
        self.probe, self.kept = probe, kept
        self.measurement, self.verdict = other.measurement, other.verdict
        self.recorder, self.checkpoints = other.recorder, other.checkpoints
        self.steering, self.screening = other.steering, other.screening
        self.steps = other.steps
        self.gradient_evaluations += other.gradient_evaluations
        self.measuring += other.measuring
        self.examples += other.examples
        self.decisions += other.decisions

    def fail(self, what: str, error: BaseException) -> None:
        """End as failed, with the error and the place where it was raised as the reason.

        Raises:
            Interrupted: If a signal has come: processes that a user's code has started get it too,
                so that what fails then is not the trial's fault.
        """
        interruption.poll()
        self.error = error
        self.reference = None  # a network that nobody needs any more
        reason = f"{what}: {describe(error)} {place_of(error)}".rstrip()
        self.outcome = Outcome("failed", reason=reason)


class RunsCandidates(Protocol):
    """An objective as a study runs it: trials are prepared, trained as a group, and concluded."""

    @property
    def seed(self) -> int:
        """The study seed."""

    @property
    def reports(self) -> int:
        """How often a trial is evaluated at most; 0 if the objective reports by itself."""

    def prepare(self, trial: optuna.Trial) -> Candidate:
        """A trial that has been asked for, with what can be suggested before it is trained."""

    def train(self, candidates: Sequence[Candidate]) -> None:
        """Train candidates until each has an outcome."""

    def conclude(self, candidate: Candidate) -> None:
        """Write cost and verdict of a candidate that has ended to its trial, before `tell`."""

    def record_of(self, candidate: Candidate) -> RunRecord:
        """What the store keeps of a candidate that has ended."""


def place_of(error: BaseException) -> str:
    """Where an error was raised, as `(file:line)`; of a refusal, where a user's code met it."""
    frames = list(traceback.extract_tb(error.__traceback__))
    if isinstance(error, UserError):
        frames = [each for each in frames if not each.filename.startswith(_NOT_USERS)]
    return f"({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def describe(error: BaseException) -> str:
    """An error in one line: its type and its text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
