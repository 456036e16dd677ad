"""A learning rate from within an objective of one's own, steered as `EdgeOfChaosSampler` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import optuna
import torch
from optuna.distributions import FloatDistribution
from optuna.trial import BaseTrial
from torch import nn

from lyapopt.display import one_line
from lyapopt.dynamics import Training
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.dynamics.training import Data, LossFunction
from lyapopt.errors import UserError
from lyapopt.probe import Probe
from lyapopt.search import attributes
from lyapopt.search._optuna import (
    enumerates,
    fix,
    frozen,
    has_value_for,
    is_fixed,
    logical_number,
)
from lyapopt.search.arguments import SearchArguments
from lyapopt.search.candidate import Candidate, describe
from lyapopt.search.probing.building import Params
from lyapopt.search.probing.probes import SteeringFailedError, optimizer_name
from lyapopt.search.probing.records import FALLBACK, STEERING, SteeringRecord
from lyapopt.search.probing.samplers import steering_sampler
from lyapopt.search.recording.cost import charge_probes, show_cost
from lyapopt.search.recording.destination import Recording, is_new
from lyapopt.search.run_record import run_record
from lyapopt.search.steering.edge_cache import CachedEdges, continuous, line_key
from lyapopt.search.steering.loop_objects import LoopObjects
from lyapopt.search.steering.rate_rules import STEPS
from lyapopt.search.steering.search import Request, SearchSettings, Steered, steer_lines
from lyapopt.search.steering.search_line import RESOLUTION, Axis
from lyapopt.search.steering.target import History, prior_target
from lyapopt.settings import RecordSettings
from lyapopt.store import TrajectoryStore

_LONGEST_REASON = 500  # characters, of what a database keeps as one attribute

_log = logging.getLogger(__name__)


def suggest_lr(
    trial: BaseTrial,
    name: str,
    low: float,
    high: float,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_fn: LossFunction,
    loader: Data,
    batch_size: int | None = None,
    scheduler: Callable[[int], float] | None = None,
    clip_grad_norm: float | None = None,
    target: float | None = None,
    probe: Probe | None = None,
    rates_at_once: int = 1,
    rounds: int = 5,
    reuse: float | None = None,
    seeds: Sequence[str] = (),
    seed: int = 0,
    record: RecordSettings | bool | None = None,
    store: TrajectoryStore | None = None,
) -> float:
    """`trial.suggest_float(name, low, high, log=True)`, steered to the edge of chaos.

        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # any rate: it is set below
        lr = lyapopt.suggest_lr(
            trial, "lr", 1e-4, 1.0, model=model, optimizer=optimizer, loss_fn=loss_fn, loader=loader
        )
        for group in optimizer.param_groups:
            group["lr"] = lr

    Rates are probed on copies of this very network for a few steps each, and the one is returned
    at which small perturbations begin to grow, as `EdgeOfChaosSampler` finds it. It is an ordinary
    parameter of the trial, so that samplers, dashboards and `study.best_params` have it. The
    target moves to that of the best trials of the study, and the search begins near the edges of
    former ones. Call it once model and optimizer are made and everything else is suggested.

    Model, optimizer, loader and all generators are left as they are, bit for bit; setting the rate
    is left to you. Parameter groups of different rates are probed in the same ratio to the first.

    It costs `(neighbours + 1) * horizon` gradient evaluations a rate, at most `rounds *
    rates_at_once` of them (80 as it comes, 64 beside the edge of a former trial, mostly 32 to 48
    once five are complete), and memory for `rates_at_once * (neighbours + 1)` copies in float64.
    All is counted in the trial's `gradient_evaluations`; the probes are in its user attribute
    `lyapopt:steering`, and in our tables of the study's database.

    Values that are given (`enqueue_trial`, `FixedTrial`, a grid, `PartialFixedSampler`) and rates
    that were suggested before in this trial are returned at once, and a sampler that steers this
    parameter itself does so. Where nothing can be probed, the study's sampler draws the rate; the
    reason is logged once and kept in the attribute.

    Args:
        trial: The trial.
        name: Name of the parameter.
        low, high: Its range, on a logarithmic scale.
        model: Called as `model(*inputs)`, with the weights that it will be trained from.
        optimizer: Over its parameters, of any rate; steps that it has taken count.
        loss_fn: `loss_fn(model(*inputs), target) -> scalar`.
        loader: Where the batches of the probes are drawn from, as many as its horizon has: a
            `DataLoader` of `(*inputs, target)` batches, a map-style `Dataset`, or tensors.
        batch_size: Examples a batch, where `loader` is no loader; `None` is the full batch.
        scheduler: The schedule, as a function from the step to a factor on the rate.
        clip_grad_norm: The norm that the loop clips gradients to, if it does.
        target: Exponent to be met, nats per step; `None` learns it.
        probe: The measurement; by default 8 steps beside one neighbour, as in `lyapopt.find_lr`.
        rates_at_once: Rates that are probed together.
        rounds: Rounds of probes at most; one less near edges of former trials.
        reuse: Draw the rate of a trial whose other parameters, but for `seeds` and continuous
            ones, are those of a former one so many decades above that one's edge, with as much for
            a standard deviation, and without any probe. `None` probes for every trial.
        seeds: Names of the parameters that are seeds, for `reuse`.
        seed: Seed of batches, perturbations and targets, with the trial's number.
        record, store: As for `lyapopt.watch`.

    Returns:
        The rate.

    Raises:
        UserError: If an argument is of another type or out of its range, or the study's sampler is
            a `BruteForceSampler`.

    Example:
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> trial = optuna.create_study().ask()
        >>> model, x = nn.Linear(2, 1), torch.eye(2)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> lr = suggest_lr(
        ...     trial,
        ...     "lr",
        ...     0.1,
        ...     100.0,
        ...     model=model,
        ...     optimizer=sgd,
        ...     loss_fn=nn.functional.mse_loss,
        ...     loader=(x, x[:, :1]),
        ...     record=False,
        ... )
        >>> 0.1 < lr < 10, trial.params == {"lr": lr}, sgd.param_groups[0]["lr"]
        (True, True, 0.1)
    """
    check = SearchArguments("suggest_lr")
    rate = SteeredRate.of(check, trial, name, low, high)
    check.probe(probe)
    names = "a list of names"
    check.instance("seeds", seeds, Sequence, names)
    if isinstance(seeds, str):
        check.refuse("seeds", seeds, names)
    probe = probe or Probe(horizon=STEPS)
    number = logical_number(trial) if isinstance(trial, optuna.Trial) else 0
    seed = check.whole("seed", seed)
    loop = LoopObjects(
        model,
        optimizer,
        loss_fn,
        loader,
        batch_size,
        scheduler,
        clip_grad_norm,
        steps=probe.horizon,
        seed=derive_seed(seed, number, name),
    )
    loop.check(check)
    check.optional(check.function, "scheduler", scheduler, example="a function of the step")

    def build(params: Params) -> Training:
        return loop.at(params[name])

    settings = SearchSettings(
        build=build,
        probe=probe,
        steer=name,
        target=check.optional(check.real, "target", target, above=0),
        rates_at_once=rates_at_once,
        rounds=rounds,
        stride=RESOLUTION,
        reuse=reuse,
        seed=seed,
        where="suggest_lr",
    )
    recording = Recording.of(check, record, store)
    return rate.steered(settings, optimizer_name(optimizer), recording, seeds=seeds)


@dataclass(frozen=True)
class SteeredRate:
    """A learning rate that is a parameter of a trial, steered where that can be.

    Attributes:
        trial: The trial.
        name: Name of the parameter.
        distribution: Its range.
    """

    trial: BaseTrial
    name: str
    distribution: FloatDistribution

    @classmethod
    def of(
        cls, check: SearchArguments, trial: BaseTrial, name: str, low: float, high: float
    ) -> SteeredRate:
        """From the arguments of a public function or class."""
        check.instance("trial", trial, BaseTrial, "a trial of Optuna's")
        check.instance("name", name, str, "the name of a parameter")
        low = check.real("low", low, above=0)
        high = check.real("high", high, least=low)
        if isinstance(trial, optuna.Trial) and enumerates(trial.study.sampler):
            raise UserError(
                f"{check.where}: BruteForceSampler tries every value, and of a learning rate there "
                "is no end; use another sampler"
            )
        return cls(trial, name, FloatDistribution(low, high, log=True))

    def steered(
        self,
        settings: SearchSettings,
        optimizer: str,
        recording: Recording,
        *,
        seeds: Sequence[str] = (),
        probe: Probe | None = None,
    ) -> float:
        """The value, found by probes unless it is given.

        Args:
            settings: How it is searched.
            optimizer: Name of the optimiser: edges and targets of others do not count.
            recording: What is kept, and where.
            seeds: Names of the parameters that are seeds.
            probe: The measurement as it is recorded, if it is not that of the settings.
        """
        trial = self.trial
        if not isinstance(trial, optuna.Trial) or self._is_given(trial):
            return self._suggested()
        found = self._search(trial, settings, optimizer, seeds)
        if found.error is None and found.record is not None:
            fix(trial, self.name, float(found.value))
            value, kept = self._suggested(), found.record
        else:
            value = self._suggested()
            kept = self._fallback(value, found, settings, optimizer)
            if is_new(f"{trial.study.study_name} {self.name} {type(found.error).__name__}"):
                _log.warning(
                    "trial %d: %s is not steered but drawn by the study's sampler: %s",
                    trial.number,
                    self.name,
                    one_line(kept.reason),
                )
        if STEERING in frozen(trial).user_attrs:  # that of another rate of this trial
            attributes.show(trial, f"{STEERING}:{self.name}", kept.as_attribute())
        else:
            self._keep(trial, kept, probe or settings.probe, settings.seed, recording)
        return value

    def _suggested(self) -> float:
        d = self.distribution
        return self.trial.suggest_float(self.name, d.low, d.high, log=True)

    def _is_given(self, trial: optuna.Trial) -> bool:
        """Whether there is nothing to be found."""
        sampler = steering_sampler(trial.study.sampler)
        is_steered = sampler is not None and sampler.steer == self.name
        is_given = is_fixed(trial, self.name) or has_value_for(trial.study.sampler, self.name)
        return is_given or self.distribution.single() or is_steered

    def _search(
        self, trial: optuna.Trial, settings: SearchSettings, optimizer: str, seeds: Sequence[str]
    ) -> Steered:
        """Search the trial's line, beginning with what former trials have found."""
        stored = frozen(trial)
        other = SteeringRecord.of_trial(stored)
        if other is not None:
            reason = f"one rate of a trial can be steered, and {other.name!r} has been"
            return Steered(0.0, error=SteeringFailedError(reason))
        params = {name: value for name, value in stored.params.items() if name != self.name}
        axis = Axis(self.distribution)
        key = line_key(params, {*seeds, *continuous(stored.distributions)})
        request = Request(params, logical_number(stored), axis, key)
        history, former = (
            [r for r in records if r.name == self.name and r.optimizer == optimizer]
            for records in (History().ranked(trial.study), CachedEdges().of(trial.study))
        )
        try:
            return steer_lines(settings, [request], history, former)[0]
        except Exception as error:
            failure = SteeringFailedError(describe(error))
            failure.__cause__ = error
            return Steered(0.0, error=failure)

    def _fallback(
        self, value: float, found: Steered, settings: SearchSettings, optimizer: str
    ) -> SteeringRecord:
        """What is kept of a rate that could not be steered, its probes so far included."""
        kept = found.record or SteeringRecord(
            name=self.name,
            value=value,
            exponent=None,
            target=settings.target or prior_target(optimizer),
            status=FALLBACK,
            edge=None,
            optimizer=optimizer,
            gradient_evaluations=0.0,
            examples=0,
            probes=(),
        )
        reason = str(found.error)[:_LONGEST_REASON]
        return replace(kept, value=value, exponent=None, status=FALLBACK, edge=None, reason=reason)

    def _keep(
        self,
        trial: optuna.Trial,
        kept: SteeringRecord,
        probe: Probe,
        seed: int,
        recording: Recording,
    ) -> None:
        """Write probes and cost to the trial, and to the database."""
        candidate = Candidate.of(trial)
        attributes.show(trial, STEERING, kept.as_attribute())
        charge_probes(candidate)
        show_cost(candidate)
        candidate.steering_probe = probe
        candidate.probe = candidate.probe or probe
        if not candidate.is_leased:
            recording.keep(
                candidate,
                lambda: run_record(candidate, candidate.probe, candidate.kept, seed),
            )
