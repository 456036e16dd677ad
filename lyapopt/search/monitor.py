"""An exponent from a training loop of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import BaseTrial
from torch import Tensor, nn

from lyapopt.checks import Arguments
from lyapopt.dynamics.broadcasting import RefusedBroadcasting
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.errors import UserError
from lyapopt.probe import Verdict, VerdictRule
from lyapopt.probe.verdicts import tail_length
from lyapopt.search import attributes
from lyapopt.search._optuna import logical_number
from lyapopt.search.float64_copy import Float64Copy, in_float64
from lyapopt.search.pruners.decision import reads_initial_loss

LossFunction = Callable[[Any, Any], Tensor]

_ROUNDING = 1e-8  # nats: a separation of 1e-6 beside weights of norm 1 is known to about this


def watch(
    trial: optuna.Trial | None,
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
    trains (float32 weights do not resolve a radius of 1e-6), nor whether by `GradScaler`. After
    `horizon` steps the copies are dropped, and exponent, verdict and cost are written to the trial.

    For trainers of other libraries there are `lyapopt.LightningWatch`, `lyapopt.TransformersWatch`
    and `lyapopt.SkorchWatch`.

    Args:
        trial: Where the results go; `None` keeps them in the monitor only.
        model: Called as `model(x)`; `model(*x)` if `x` is a tuple, `model(**x)` if it is a mapping.
        optimizer: Over the model's parameters; any that can be copied and takes a step without a
            closure.
        loss_fn: `loss_fn(model(x), y) -> scalar`.
        horizon: Steps to watch; the cost is `(neighbours + 1) * horizon` gradient evaluations
            beside the user's own.
        neighbours: Perturbed copies.
        radius: Separation that they start with and are rescaled to, in the norm of the weights.
        accumulate: Batches whose mean gradient makes one step (gradient accumulation): `observe`
            is called for each of them. `None`: their gradients add up until `monitor.step()`.
        clip_grad_norm: The norm that the loop clips gradients to, if it does.
        rule: Thresholds between the verdicts.
        seed: Seed of the perturbations.

    Raises:
        UserError: If a number is out of its range, nothing is trained, the optimiser needs a
            closure, or the model or its optimiser cannot be copied.

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
        >>> str(monitor.verdict), monitor.gradient_evaluations
        ('edge', 10)
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
    )


class Monitor:
    """What `watch` returns; see there.

    Attributes:
        exponent: Nats per step, once the horizon is over; until then `None`.
        verdict: `diverged`, `hot`, `edge`, `cool` or `dead`; until then `None`.
        gradient_evaluations: Gradients that the copies have cost so far.
    """

    def __init__(
        self,
        trial: optuna.Trial | None,
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
        self.exponent: float | None = None
        self.verdict: Verdict | None = None
        self.gradient_evaluations = 0
        self._trial = trial
        self._model = model
        self._optimizer = optimizer
        self._loss_fn = loss_fn
        self._horizon = horizon
        self._radius = radius
        self._accumulate = accumulate
        self._clip = clip_grad_norm
        self._rule = rule
        self._steps = 0
        self._losses: list[float] = []
        self._batch_losses: list[float] = []
        self._growth: list[float] = []
        self._copies = [Float64Copy.of(model, optimizer) for _ in range(1 + neighbours)]
        number = 0 if trial is None else logical_number(trial)
        for k, neighbour in enumerate(self._copies[1:]):
            neighbour.perturb(radius, derive_seed(seed, number, k, "perturbation"))
        self._start = self._copies[0].weights()

    @property
    def is_done(self) -> bool:
        """Whether the horizon is over."""
        return self.verdict is not None

    def should_stop(self) -> bool:
        """Whether the verdict is that training is useless: hot, dead or diverged."""
        return self.verdict in (Verdict.HOT, Verdict.DEAD, Verdict.DIVERGED)

    def observe(self, x: Any, y: Any) -> None:
        """Show the monitor the batch that the next step is taken on; cheap after the horizon."""
        if self.is_done:
            return
        if self._loss_fn is None:
            raise UserError("watch: there is no loss_fn; use observe_loss")
        loss_fn, x, y = self._loss_fn, in_float64(x), in_float64(y)

        def loss_of(model: nn.Module) -> Tensor:
            outputs = _call(model, x)
            with RefusedBroadcasting("watch"):
                return loss_fn(outputs, y)

        self.observe_loss(loss_of)

    def observe_loss(
        self, loss_of: Callable[[nn.Module], Tensor], weight: float | None = None
    ) -> None:
        """The same with a function that computes the loss of a model on the next batch.

        Args:
            loss_of: Called with each copy of the model, in float64.
            weight: What the loss is multiplied by; by default 1 / `accumulate`.
        """
        if self.is_done:
            return
        if weight is None:
            weight = 1 / (self._accumulate or 1)
        # All copies, and then the user's own step, see the same dropout masks.
        state = _generator_states()
        losses = []
        try:
            for one in self._copies:
                _restore_generators(state)
                one.imitate(self._model)
                losses.append(one.accumulate(loss_of, weight))
                self.gradient_evaluations += 1
        finally:
            _restore_generators(state)
        self._batch_losses.append(losses[0])
        if len(self._batch_losses) == self._accumulate:
            self.step()

    def step(self) -> None:
        """Take the step that all batches since the last one make; nothing if there were none."""
        if not self._batch_losses:
            return
        self._losses.append(float(np.mean(self._batch_losses)))
        self._batch_losses = []
        for one in self._copies:
            one.step(self._optimizer, self._clip)
        self._steps += 1
        reference, *neighbours = self._copies
        separations = [neighbour.separation(reference) for neighbour in neighbours]
        mean = float(np.mean(separations))
        self._growth.append(math.log(mean / self._radius) if mean > 0 else -math.inf)
        for neighbour, separation in zip(neighbours, separations, strict=True):
            if separation > 0 and math.isfinite(separation):
                neighbour.rescale(reference, self._radius / separation)
        if self._steps == self._horizon or not math.isfinite(mean):
            self._finish()

    def _finish(self) -> None:
        """Judge what was measured, and drop the copies."""
        finite = [g for g in self._growth if math.isfinite(g)]
        self.exponent = float(np.mean(finite)) if finite else math.nan
        end = self._copies[0].weights()
        tail = tail_length(self._horizon)
        losses = np.array(self._losses)
        is_frozen = len(finite) == self._horizon and max(map(abs, finite[-tail:])) < _ROUNDING
        is_flat = bool(np.ptp(losses[-tail:]) <= _ROUNDING * abs(losses[-tail:]).max())
        self.verdict = self._rule.judge(
            self.exponent,
            None,
            losses,
            is_finite=bool(torch.isfinite(end).all()),
            stands_still=is_frozen and (is_flat or torch.equal(end, self._start)),
        )
        self._copies = []
        if self._trial is not None:
            self._show(self._trial)

    def _show(self, trial: optuna.Trial) -> None:
        """Write exponent, verdict and cost to the trial."""
        assert self.exponent is not None
        if math.isfinite(self.exponent):
            trial.set_user_attr(attributes.EXPONENT, attributes.rounded(self.exponent))
        trial.set_user_attr(attributes.VERDICT, str(self.verdict))
        trial.set_user_attr(attributes.COST, float(self.gradient_evaluations))
        if reads_initial_loss(trial.study.pruner) and math.isfinite(self._losses[0]):
            trial.set_user_attr(attributes.INITIAL_LOSS, attributes.rounded(self._losses[0]))


def _call(model: nn.Module, x: Any) -> Any:
    if isinstance(x, Mapping):
        return model(**x)
    return model(*x) if isinstance(x, tuple) else model(x)


def _generator_states() -> tuple[Tensor, list[Tensor]]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), cuda


def _restore_generators(states: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(states[0])
    if states[1]:
        torch.cuda.set_rng_state_all(states[1])
