"""An exponent from a training loop of one's own."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import optuna
import torch
from optuna.trial import BaseTrial
from torch import Tensor, nn

from lyapopt.checks import Arguments
from lyapopt.dynamics.broadcasting import RefusedBroadcasting
from lyapopt.dynamics.precision import not_measurable
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.dynamics.replaying import check_hooks
from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.errors import PrecisionError, UserError
from lyapopt.probe import Measurement, Probe, Verdict, VerdictRule
from lyapopt.search._optuna import logical_number
from lyapopt.search.copied_loop import CopiedLoop
from lyapopt.search.loop_batches import call_on, count_examples
from lyapopt.search.loop_step import LossOfBatch
from lyapopt.search.model_copy import ModelCopy
from lyapopt.search.recording.destination import Recording
from lyapopt.search.recording.watched import WatchedRun
from lyapopt.search.tangent_loop import TangentLoop
from lyapopt.settings import RecordSettings
from lyapopt.store import TrajectoryStore

LossFunction = Callable[[Any, Any], Tensor]


def watch(
    trial: BaseTrial | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_fn: LossFunction,
    *,
    horizon: int = 20,
    neighbours: int = 1,
    radius: float = 1e-6,
    accumulate: int | None = 1,
    clip_grad_norm: float | None = None,
    rule: VerdictRule | None = None,
    seed: int = 0,
    record: RecordSettings | bool | None = None,
    store: TrajectoryStore | None = None,
) -> Monitor:
    """Watch the first steps of an ordinary training loop: three added lines.

        monitor = lyapopt.watch(trial, model, optimizer, loss_fn)         # before the loop
        for x, y in batches:
            monitor.observe(x, y)                                         # before each step
            ...                                                           # the loop as it was
            if monitor.should_stop(): raise optuna.TrialPruned            # where wanted

    The monitor trains copies of the model, one of them unperturbed, in float64 on the batches that
    it is shown, with the learning rates that the optimiser has at that step; the user's model,
    gradients and generators are left alone. So it does not matter in which precision the user
    trains (float32 weights do not resolve a radius of 1e-6), under `autocast` or by `GradScaler`.
    Constants that the model or the loss makes (`torch.zeros(...)`, class weights) are float64 in
    the copies, which draw the same noise as the model. A model that runs in float32 only is copied
    as it is, with tangent vectors in the place of neighbours. After `horizon` steps the copies are
    dropped, exponent, verdict and cost are written to the trial, and losses, separations, exponent
    and a projection of the weights to the database of its study.

    `should_stop` asks the study's pruner: its rules on what was measured (`LyapunovPruner`), and
    what it makes of the values that the loop reports by `trial.report`.

    The cost is all that the trial computes: the gradients of the copies, and one for each batch of
    the loop's own training. It is complete when the monitor is closed, by `close()`, at the end of
    a `with` block, or when the function that made it returns; after an error or a pruning of the
    loop's own, when Python drops the traceback, at the latest at the end of the process.

    For trainers of other libraries there are `lyapopt.LightningWatch`, `lyapopt.TransformersWatch`
    and `lyapopt.SkorchWatch`.

    Args:
        trial: Where the results go; `None` keeps them in the monitor only, and so does a trial
            that belongs to no study, such as `study.best_trial`.
        model: Called as `model(x)`; `model(*x)` if `x` is a tuple, `model(**x)` if it is a mapping.
        optimizer: Over the model's parameters; any that can be copied and takes a step without a
            closure.
        loss_fn: `loss_fn(model(x), y) -> scalar`.
        horizon: Steps to watch; the copies cost `(neighbours + 1) * horizon` gradient evaluations
            (times `accumulate`) beside the user's own, and by tangents
            `(2 * neighbours + 1) * horizon + 7`.
        neighbours: Perturbed copies.
        radius: Separation that they start with and are rescaled to, in the norm of the weights.
        accumulate: Batches whose mean gradient makes one step (gradient accumulation): `observe`
            is called for each of them. `None`: their gradients add up until `monitor.step()`.
        clip_grad_norm: The norm that the loop clips gradients to, if it does.
        rule: Thresholds between the verdicts.
        seed: Seed of the perturbations.
        record: What is kept in our tables of the study's database; `False`, or the environment
            variable `LYAPOPT_RECORD=0`, keeps nothing.
        store: Where it is kept instead, for studies in memory or without SQL.

    Raises:
        UserError: If a number is out of its range, nothing is trained, the optimiser needs a
            closure, or the model or its optimiser cannot be copied. `observe` raises, before the
            first step, if the loss reads the model itself, or if something runs neither in float64
            nor with tangents.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> monitor = watch(None, model, optimizer, nn.functional.mse_loss, horizon=5)
        >>> for _ in range(6):
        ...     x, y = torch.eye(2), torch.ones(2, 1)
        ...     monitor.observe(x, y)
        ...     optimizer.zero_grad()
        ...     nn.functional.mse_loss(model(x), y).backward()
        ...     optimizer.step()
        >>> monitor.verdict is not None, monitor.gradient_evaluations
        (True, 16)
    """
    Arguments("watch").function("loss_fn", loss_fn, "a function of outputs and target")
    return Monitor(
        trial,
        model,
        optimizer,
        loss_fn,
        horizon=horizon,
        neighbours=neighbours,
        radius=radius,
        accumulate=accumulate,
        clip_grad_norm=clip_grad_norm,
        rule=VerdictRule() if rule is None else rule,
        seed=seed,
        record=record,
        store=store,
    )


class Monitor:
    """What `watch` returns; see there. A context manager that closes itself. Copies write nothing.

    Attributes:
        exponent: Nats per step, once the horizon is over; until then `None`. `-inf` where all
            copies met the reference, NaN where nothing could be measured.
        verdict: `diverged`, `dead`, `hot`, `edge`, `neutral` or `contracting`; until then `None`.
        measurement: All that was measured, as a `Probe` returns it; until then `None`.
        gradient_evaluations: Gradients so far: of the copies, and of the loop's own training.
    """

    def __init__(
        self,
        trial: BaseTrial | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_fn: LossFunction | None,
        *,
        horizon: int,
        neighbours: int,
        radius: float,
        accumulate: int | None,
        clip_grad_norm: float | None,
        rule: VerdictRule,
        seed: int,
        record: RecordSettings | bool | None = None,
        store: TrajectoryStore | None = None,
    ) -> None:
        check = Arguments("watch")
        trials = "a trial of Optuna's, or None"
        check.optional(check.instance, "trial", trial, types=BaseTrial, expected=trials)
        check.instance("model", model, nn.Module, "an nn.Module")
        check.instance("optimizer", optimizer, torch.optim.Optimizer, "a torch.optim.Optimizer")
        check.optional(check.function, "loss_fn", loss_fn)
        check.whole("horizon", horizon, least=1)
        check.whole("neighbours", neighbours, least=1)
        check.real("radius", radius, above=0)
        check.optional(check.whole, "accumulate", accumulate, least=1)
        if clip_grad_norm != math.inf:  # which clips nothing
            check.optional(check.real, "clip_grad_norm", clip_grad_norm, above=0)
        check.instance("rule", rule, VerdictRule, "a VerdictRule")
        check.whole("seed", seed)
        recording = Recording.of(check, record, store)
        self.exponent: float | None = None
        self.verdict: Verdict | None = None
        self.measurement: Measurement | None = None
        self.gradient_evaluations = 0
        self._has_trial = trial is not None
        self._number = 0 if trial is None else logical_number(trial)
        self._model = model
        self._optimizer = optimizer
        self._loss_fn = loss_fn
        self._accumulate = accumulate
        self._clip = clip_grad_norm
        self._steps = 0
        self._own_batches = 0  # of the step that is not taken yet
        self._spent = [0, 0]  # gradients of the copies, and examples that they were computed on
        self._seed = seed
        check_hooks(model, optimizer)
        ModelCopy.of(model, optimizer)  # refused here, before anything is trained
        # Made at the first batch: a model may be loaded, and parts of it frozen, until then.
        self._loop: CopiedLoop | TangentLoop | None = None
        self._probe = Probe(horizon, neighbours, radius, estimator="neighbours", rule=rule)
        self._run: WatchedRun | None = None
        if isinstance(trial, optuna.Trial):
            self._run = WatchedRun(
                trial, self._probe, recording, seed, says_short=loss_fn is not None
            )
            # Where the loop does not close the monitor, it is closed when it is gone.
            weakref.finalize(self, self._run.abandon).atexit = False

    @property
    def is_done(self) -> bool:
        """Whether the horizon is over."""
        return self.verdict is not None

    def should_stop(self) -> bool:
        """Whether the pruner of the trial's study says to stop; cheap where there is nothing new.

        Asked are the rules of our pruners, about what was measured, and any pruner about each value
        that the loop has reported since; with several objectives, a `LyapunovPruner` alone. Without
        a trial there is nobody to ask: then it is the verdict, hot, dead or diverged. A trial that
        belongs to no study never says to stop.
        """
        if self._run is not None:
            return self._run.should_stop(self.is_done)
        if self._has_trial:
            return False
        return self.verdict in (Verdict.HOT, Verdict.DEAD, Verdict.DIVERGED)

    @property
    def reason(self) -> str | None:
        """Why `should_stop` said to stop, in words; `None` if it did not."""
        return None if self._run is None else self._run.signal.reason

    def close(self) -> None:
        """Complete what is recorded of the trial; must come before `tell`. Twice does no harm."""
        if self._run is not None:
            self._run.save()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if self._run is not None and error is None:
            self._run.say_if_short()

    def observe(self, x: Any, y: Any) -> None:
        """Show the monitor the batch that the next step is taken on; cheap after the horizon."""
        if self._loss_fn is None:
            raise UserError("watch: there is no loss_fn; use observe_loss")
        examples = count_examples(x)
        if self.is_done:
            self._count(examples)
            return
        loss_fn = self._loss_fn

        def loss_of(model: nn.Module, batch: tuple[Any, Any]) -> Tensor:
            x, y = batch
            outputs = call_on(model, x)
            with RefusedBroadcasting("watch"):
                return loss_fn(outputs, y)

        self.observe_loss(loss_of, (x, y))

    def observe_loss(self, loss_of: LossOfBatch, batch: Any, weight: float | None = None) -> None:
        """The same with a function that computes the loss of a model on the next batch.

        Args:
            loss_of: Called with a copy of the model and the batch, its floating-point tensors in
                the precision of the copy.
            batch: The batch: tensors, also inside tuples, lists and mappings.
            weight: What the loss is multiplied by; by default 1 / `accumulate`.
        """
        examples = count_examples(batch)
        if self.is_done:
            self._count(examples)
            return
        if weight is None:
            weight = 1 / (self._accumulate or 1)
        around = Surroundings(self._model, loss_of)
        if self._loop is None:
            self._loop = self._begin(loss_of, batch, weight, around)
            self._charge(self._loop.gradients_of_start, examples)
        self._loop.observe(self._model, around, loss_of, batch, weight)
        self._charge(self._loop.gradients_of_batch, examples)
        self._count(examples)

    def _begin(
        self, loss_of: LossOfBatch, batch: Any, weight: float, around: Surroundings
    ) -> CopiedLoop | TangentLoop:
        """Copy model and optimiser as they are before the first step: in float64 if that can be."""
        model, optimizer = self._model, self._optimizer
        seeds = [
            derive_seed(self._seed, self._number, k, "perturbation")
            for k in range(self._probe.neighbours)
        ]
        try:
            return CopiedLoop(
                model, optimizer, around, (loss_of, batch), self._probe, self._clip, seeds
            )
        except PrecisionError as refusal:
            first = loss_of, batch, weight
            probe = replace(self._probe, estimator="tangent")
            try:
                return TangentLoop(model, optimizer, around, first, probe, self._clip, seeds)
            except PrecisionError as reason:
                dtype = next(p.dtype for p in model.parameters() if p.requires_grad)
                raise not_measurable(refusal, dtype, str(reason)) from reason

    def _charge(self, gradients: int, examples: int) -> None:
        """Count gradients of the copies on a batch."""
        self.gradient_evaluations += gradients
        self._spent[0] += gradients
        self._spent[1] += gradients * examples
        if self._run is not None:
            self._run.count(gradients, examples)

    def _count(self, examples: int) -> None:
        """Count a batch that the loop trains on itself."""
        self.gradient_evaluations += 1
        self._own_batches += 1
        if self._run is not None:
            self._run.count(1, examples, is_training=True)
        if self._own_batches == self._accumulate:
            self.step()

    def step(self) -> None:
        """Take the step that all batches since the last one make; nothing if there were none."""
        if not self._own_batches:
            return
        self._own_batches = 0
        if self._run is not None:
            self._run.count_step()
        if self._loop is not None:
            self._step_copies(self._loop)

    def _step_copies(self, loop: CopiedLoop | TangentLoop) -> None:
        is_kept = self._run is not None and self._run.keeps_weights(self._steps)
        weights = loop.weights() if is_kept else torch.empty(0)
        is_over = loop.step(self._optimizer)
        if self._run is not None:
            self._run.observe(self._steps, weights, loop.loss)
        self._steps += 1
        if is_over:
            self._finish(loop)

    def _finish(self, loop: CopiedLoop | TangentLoop) -> None:
        """Judge what was measured, and drop the copies."""
        self.measurement = loop.measurement(*self._spent)
        self._loop = None  # memory is as it was before
        self.exponent, self.verdict = self.measurement.exponent, self.measurement.verdict
        if self._run is not None:
            self._run.measured(self.measurement, self._model)
