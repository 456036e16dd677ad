"""The run of a trial whose training a monitor watches."""

from __future__ import annotations

import atexit
import functools
import gc
import logging
import os
import threading
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import Any
from weakref import WeakSet

import numpy as np
import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from torch import Tensor, nn

from lyapopt.display import one_line
from lyapopt.probe import Measurement, Probe
from lyapopt.search import attributes
from lyapopt.search._optuna import frozen, frozen_in_memory
from lyapopt.search.candidate import Candidate, describe
from lyapopt.search.pruners.asking import StopSignal
from lyapopt.search.pruners.decision import reads_initial_loss
from lyapopt.search.recording.cost import charge_probes, show_cost
from lyapopt.search.recording.destination import Recording, is_new
from lyapopt.search.run_record import run_record
from lyapopt.search.trajectory_recorder import Recorder
from lyapopt.settings import Estimator
from lyapopt.store.completion import before_reading

_log = logging.getLogger(__name__)
_here = threading.local()
_left: deque[WatchedRun] = deque()
_open: WeakSet[WatchedRun] = WeakSet()
_opening = threading.Lock()


def _note_collection(phase: str, _: object) -> None:
    """Garbage may be collected while this thread writes to the database: no moment to do so too."""
    _here.is_collecting = phase == "start"


gc.callbacks.append(_note_collection)


def complete_left() -> None:
    """Save the runs whose monitors were found to be garbage."""
    while _left:
        _left.popleft().abandon()


def _complete_ended() -> None:
    """Save those whose trials have ended, though an error or somebody else still has the loop."""
    if getattr(_here, "is_completing", False):
        return  # to save one it is read what is there
    _here.is_completing = True
    try:
        complete_left()
        with _opening:
            runs = list(_open)
        for run in runs:
            run.complete_if_ended()
    finally:
        _here.is_completing = False


before_reading(_complete_ended)


def _complete_at_exit() -> None:
    gc.collect()
    complete_left()


def _forget() -> None:
    """Leave to the parent of this process what is the parent's."""
    global _opening
    _left.clear()
    _open.clear()
    _opening = threading.Lock()  # another thread of the parent's may have held it


@functools.cache
def _prepare() -> None:
    """Collect garbage once, before the first training of this process is watched.

    The first optimiser of a process imports torch's compiler, whose caught exceptions hold on to
    the frame that made it, which often is the training loop: its monitor would be gone whenever
    garbage is collected next, and not when the loop returns.
    """
    gc.collect()
    os.register_at_fork(after_in_child=_forget)
    atexit.register(_complete_at_exit)


class WatchedRun:
    """What a monitor has seen of a trial, and its way to the trial and to the database.

    It knows nothing of the monitor, so that it can be closed when that is gone. Several monitors of
    one trial, of the folds of a cross-validation say, share its run: costs add up, and of what was
    measured the latest counts.

    Args:
        trial: The trial.
        probe: How the monitor measures.
        recording: What is kept, and where.
        seed: Seed of the monitor.
        says_short: Whether a loop that ended before the horizon is said here, and nowhere else.

    Attributes:
        signal: Whether the pruner says to stop.
    """

    def __init__(
        self,
        trial: optuna.Trial,
        probe: Probe,
        recording: Recording,
        seed: int,
        *,
        says_short: bool = False,
    ) -> None:
        _prepare()
        complete_left()
        known = Candidate.of(trial)
        known.probe, known.steps = probe, 0
        self._probe = probe
        known.kept = recording.settings if recording.is_on else None
        self.signal = StopSignal(trial)
        self._candidate = known
        self._recording = recording
        self._seed = seed
        self._says_short = says_short
        self._recorder = known.recorder = Recorder(recording.settings, seed, [known.number])
        self._is_saved = True
        # Named when the loop begins: how it ends is nobody's to know, and one that raises leaves a
        # trial that takes no attributes any more.
        self._is_begun = frozen_in_memory(trial).user_attrs.get(attributes.RUN) == known.run
        with _opening:
            _open.add(self)

    def __reduce__(self) -> Any:
        return type(None), ()  # a copy of a monitor has none: one of them writes to the trial

    def count(self, gradient_evaluations: int, examples: int, *, is_training: bool = False) -> None:
        """Add to what the trial has cost; it goes on, whatever the pruner said."""
        self._candidate.gradient_evaluations += gradient_evaluations
        if not is_training:
            self._candidate.measuring += gradient_evaluations
        self._candidate.examples += gradient_evaluations * examples
        self._candidate.reason = None
        self._is_saved = False
        if not self._is_begun:
            self._is_begun = True
            charge_probes(self._candidate)
            self._keep()

    def count_step(self) -> None:
        """Add a step of the training."""
        self._candidate.steps += 1

    def keeps_weights(self, step: int) -> bool:
        """Whether weights are kept of this step."""
        kept = self._candidate.kept
        return kept is not None and kept.weights != "none" and step % kept.every == 0

    def observe(self, step: int, weights: Tensor, loss: float) -> None:
        """Keep the loss of the reference at a step and, if due, its weights before it, `(P,)`."""
        if self._candidate.kept is not None:
            losses = torch.tensor([loss], dtype=torch.float64)
            self._recorder.observe_weights(step, weights.unsqueeze(0), losses)

    def measured(self, measurement: Measurement, model: nn.Module) -> None:
        """Show what was measured of a model in the trial, and write it to the database."""
        candidate = self._candidate
        candidate.measurement, candidate.verdict = measurement, measurement.verdict
        estimator: Estimator = "tangent" if measurement.estimator == "tangent" else "neighbours"
        candidate.probe = replace(self._probe, estimator=estimator)
        with suppress(UpdateFinishedTrialError):  # the loop goes on after its trial was told
            self._show(measurement, model)
        self._is_saved = False
        self.save()

    def _show(self, measurement: Measurement, model: nn.Module) -> None:
        """Show what was measured in the trial."""
        trial = self._candidate.trial
        for name, value in attributes.of_measurement(measurement).items():
            attributes.show(trial, name, value)
        if any(p.dtype != torch.float64 for p in model.parameters()):
            attributes.show(trial, attributes.MEASURED, measurement.measured)
        loss = float(measurement.losses[0])
        if reads_initial_loss(trial.study.pruner) and np.isfinite(loss):
            attributes.show(trial, attributes.INITIAL_LOSS, attributes.rounded(loss))

    def should_stop(self, is_measured: bool) -> bool:
        """Ask the pruner; if it says to stop, the trial is written, for it will hardly go on."""
        known = len(self.signal.decisions)
        should_stop = self.signal.ask(self._candidate.steps, is_measured)
        new = self.signal.decisions[known:]
        if new:
            self._candidate.decisions += new
            self._is_saved = False
        if should_stop and self.signal.reason is not None:
            self._candidate.reason = self.signal.reason
            self.save()
        return should_stop

    def save(self) -> None:
        """Write cost and run as they are now, if anything has changed."""
        if self._is_saved:
            return
        candidate = self._candidate
        self._recorder.rest()
        # A trial that has ended takes no attributes any more; its rows are still completed.
        with suppress(UpdateFinishedTrialError):
            charge_probes(candidate)
            show_cost(candidate)
        self._keep()
        self._is_saved = True

    def _keep(self) -> None:
        """Write the run as it is now, unless a study's runner does."""
        candidate = self._candidate
        if candidate.is_leased:
            return
        with suppress(UpdateFinishedTrialError):
            self._recording.keep(
                candidate,
                lambda: run_record(candidate, candidate.probe, candidate.kept, self._seed),
            )

    def say_if_short(self) -> None:
        """Say once a study that a loop that nobody stopped has ended before the horizon."""
        if not self._says_short:
            return
        candidate, study = self._candidate, self._candidate.trial.study
        is_short = candidate.measurement is None and 0 < candidate.steps < self._probe.horizon
        if not is_short or candidate.reason is not None or self._was_ended():
            return
        if is_new(f"short: {study.study_name}"):
            _log.warning(
                "watch: the loop of trial %d ended after %d steps, before the horizon of %d, and "
                "there is no exponent; give a smaller horizon",
                candidate.number,
                candidate.steps,
                self._probe.horizon,
            )

    def _was_ended(self) -> bool:
        """Whether the loop was broken off: by an error, or pruned by its own."""
        return frozen(self._candidate.trial).state in (TrialState.FAIL, TrialState.PRUNED)

    def complete_if_ended(self) -> None:
        """Save what is not saved yet of a trial that has ended; never an error."""
        with suppress(Exception):  # the study may be gone
            if not self._is_saved and frozen(self._candidate.trial).state.is_finished():
                self.abandon()

    def abandon(self) -> None:
        """Save what the monitor, which is gone, has not; never an error."""
        if getattr(_here, "is_collecting", False):
            _left.append(self)
            return
        try:
            self.save()
            self.say_if_short()
        except Exception as error:
            number = self._candidate.trial.number
            _log.debug("trial %d is not completed: %s", number, one_line(describe(error)))
