"""One method on one table: what it does is charged, what it finds is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from lyapopt.bench.tables.measures import measurements
from lyapopt.bench.tables.table import Table
from lyapopt.probe import Measurement, Verdict
from lyapopt.search import attributes
from lyapopt.search.probing.records import DRAWN, SteeringRecord
from lyapopt.search.probing.samplers import steering_sampler
from lyapopt.search.pruners.asking import ask_rules
from lyapopt.search.samplers.seeded import SeededSampler
from lyapopt.search.space import SearchSpace
from lyapopt.space import SeedParameter

FIRST_REPORT = 20


class DrawsSeeds:
    """A sampler that is given the seed parameters too."""


@dataclass
class Replay:
    """A search on a table, with a budget.

    Args:
        table: What was recorded.
        budget: In full trainings.
        seed: All methods with one seed see one stream of candidates.

    Attributes:
        spent: Gradient evaluations so far.
        found: Completed trainings: what had been spent by then, and the final validation loss.
    """

    table: Table
    budget: float
    seed: int
    spent: float = 0.0
    found: list[tuple[float, float]] = field(default_factory=list)

    @property
    def limit(self) -> float:
        """The budget in gradient evaluations."""
        return self.budget * self.table.facts.steps

    @property
    def is_spent(self) -> bool:
        """Whether the budget is used up."""
        return self.spent >= self.limit

    def charge(self, gradient_evaluations: float) -> None:
        """Count a cost."""
        self.spent += gradient_evaluations

    def evaluate(self, cell: int, step: int) -> float:
        """Validation loss of a configuration after some steps; costs its forward passes."""
        self.charge(self.table.facts.evaluation_cost)
        place = int(np.searchsorted(self.table.checkpoints, step))
        return float(self.table.validation[cell, place])

    def complete(self, cell: int) -> float:
        """Evaluate a training that has come to its end; NaN if it diverged."""
        loss = self.evaluate(cell, self.table.facts.steps)
        self.found.append((self.spent, float(self.table.final[cell])))
        return loss

    def best_at(self, budget: float) -> float:
        """Lowest final loss of the trainings completed within a budget of full trainings; that of
        an untrained network where there are none.
        """
        limit = budget * self.table.facts.steps
        losses = [loss for spent, loss in self.found if spent <= limit]
        return min(losses, default=self.table.untrained)

    # Optuna's side

    @property
    def space(self) -> SearchSpace:
        """What is searched: the axes of the grid, the rate continuous."""
        case = self.table.case
        entries: dict[str, Any] = {
            name: CategoricalDistribution(values) for name, values in case.others.items()
        }
        entries["init_seed"] = SeedParameter(0, len(case.axes["init_seed"]) - 1)
        entries["lr"] = FloatDistribution(case.rates[0], case.rates[-1], log=True)
        return SearchSpace(entries)

    def study(self, sampler: BaseSampler, pruner: BasePruner | None = None) -> optuna.Study:
        """A study in memory whose draws follow from the seed and the trial's number."""
        seeds = {} if isinstance(sampler, DrawsSeeds) else self.space.seeds
        seeded = SeededSampler(sampler, self.seed, seeds)
        # Hyperband takes a trial's bracket from a hash of the study's name.
        name = f"replay {self.seed}"
        return optuna.create_study(sampler=seeded, pruner=pruner or NopPruner(), study_name=name)

    def ask(self, study: optuna.Study) -> tuple[optuna.Trial, int]:
        """The next trial and its configuration."""
        trial = study.ask()
        return trial, self.cell_of(self.space.suggest(trial))

    def cell_of(self, params: Mapping[str, Any]) -> int:
        """The configuration that a trial's parameters are snapped to."""
        seeds = self.table.case.axes["init_seed"]
        own = {**params, "init_seed": seeds[int(params["init_seed"])]}
        return self.table.case.cell_of(own)


@dataclass(frozen=True)
class Watch:
    """The first steps of every trial are a probe whose result the pruner reads.

    Args:
        horizon: Steps of the probe, after which every trial is evaluated too.
        neighbours: Trajectories beside the reference; with none, the loss is all that is known.
        slow: Neighbours are run as an `Objective` does it, after the reference and from the same
            weights and batches: only for trials whose loss has fallen by this share, and for slow
            ones that the pruner lets pass; `None` runs them for all.
        placebo: Gives every trial the exponent of something else.
    """

    horizon: int = 20
    neighbours: int = 1
    slow: float | None = None
    placebo: Callable[[Table, int, int], Measurement] | None = None

    def show(
        self, trial: optuna.Trial, replay: Replay, cell: int, is_measured: bool = False
    ) -> None:
        """Charge the neighbours, if the sampler has not run them before, and put the measurement
        where pruners look for it.
        """
        found = measurements(replay.table, max(1, self.neighbours), self.horizon)[cell]
        if np.isfinite(found.losses[0]):
            trial.set_user_attr(attributes.INITIAL_LOSS, float(found.losses[0]))
        if not self.neighbours or (not is_measured and self._is_told_by_loss(found)):
            _show(trial, {**attributes.of_measurement(found), attributes.EXPONENT: None})
            if not self.neighbours or any(d.pruned for d in ask_rules(trial, self.horizon)):
                return
        if not is_measured:
            replay.charge(self.neighbours * self.horizon)
        if self.placebo is not None and found.verdict != Verdict.DIVERGED:
            other = self.placebo(replay.table, cell, replay.seed)
            found = replace(other, loss_fall=found.loss_fall)
        _show(trial, attributes.of_measurement(found))

    def _is_told_by_loss(self, found: Measurement) -> bool:
        """Whether the loss alone speaks against a trial: a divergence shows in it, too."""
        if self.slow is None:
            return False
        return found.verdict == Verdict.DIVERGED or found.loss_fall < self.slow


def _show(trial: optuna.Trial, shown: Mapping[str, Any]) -> None:
    for name, value in shown.items():
        if value is not None:
            trial.set_user_attr(name, value)


def run_trials(
    replay: Replay,
    sampler: BaseSampler,
    pruner: BasePruner | None = None,
    watch: Watch | None = None,
    probe_steps: int = 0,
    group_end: Callable[[int], int] = lambda number: number + 1,
) -> None:
    """One trial after the other until the budget is spent, as `Study.optimize` does.

    Args:
        replay: The table and the budget.
        sampler: Proposes trials.
        pruner: Asked at `report_steps`; without one a trial is evaluated at its end only.
        watch: How every trial is probed, for pruners that read exponents.
        probe_steps: Steps of every probed trial that its sampler's probe has made already.
        group_end: From the number of the first trial of a group to the one after its last: they are
            drawn together, before any of them is trained.
    """
    study = replay.study(sampler, pruner)
    reports = [replay.table.facts.steps] if pruner is None else report_steps(replay.table)
    if watch is not None:
        reports = sorted({watch.horizon, *reports})
    group: list[tuple[optuna.Trial, int]] = []
    while not replay.is_spent:
        first = len(study.trials)
        group = group or [replay.ask(study) for _ in range(first, group_end(first))]
        trial, cell = group.pop(0)
        done = _made_by_probe(trial, probe_steps)
        if watch is not None:
            watch.show(trial, replay, cell, is_measured=done > 0)
        _train(replay, study, trial, cell, done, reports)


def _train(
    replay: Replay,
    study: optuna.Study,
    trial: optuna.Trial,
    cell: int,
    done: int,
    reports: Sequence[int],
) -> None:
    steps = replay.table.facts.steps
    for step in reports:
        replay.charge(max(0, step - done))
        done = max(done, step)
        if replay.is_spent:
            study.tell(trial, state=TrialState.FAIL)
            return
        value = replay.complete(cell) if step == steps else replay.evaluate(cell, step)
        if not np.isfinite(value):
            study.tell(trial, state=TrialState.PRUNED)
            return
        trial.report(value, step)
        if trial.should_prune() and step < steps:
            study.tell(trial, state=TrialState.PRUNED)
            return
    study.tell(trial, value)


def _survives(
    replay: Replay, study: optuna.Study, trial: optuna.Trial, cell: int, watch: Watch, done: int
) -> bool:
    """Train a candidate over the horizon of its probe, and ask the pruner."""
    watch.show(trial, replay, cell, is_measured=done > 0)
    replay.charge(max(0, watch.horizon - done))
    value = replay.evaluate(cell, watch.horizon)
    if np.isfinite(value):
        trial.report(value, watch.horizon)
        if not trial.should_prune():
            return True
    study.tell(trial, state=TrialState.PRUNED)
    return False


def _made_by_probe(trial: optuna.Trial, steps: int) -> int:
    """Steps of a trial that its sampler's probe has made; none where it was drawn without one."""
    sampler = steering_sampler(trial.study.sampler)
    if not steps or sampler is None:
        return steps
    record = SteeringRecord.of_trial(trial.study.trials[trial.number])
    is_probed = sampler.steers(trial) and (record is None or record.status != DRAWN)
    return steps if is_probed else 0


def report_steps(table: Table) -> list[int]:
    """Where trials under a pruner are evaluated: at most ten times."""
    even = {round(table.facts.steps * k / 8) for k in range(1, 9)}
    known = {int(step) for step in table.checkpoints}
    return sorted((even | {FIRST_REPORT, 40, 80}) & known)


def run_ranked(
    replay: Replay,
    sampler: BaseSampler,
    steps: int,
    keep: int = 1,
    by: str = "validation",
    probe_steps: int = 0,
    pruner: BasePruner | None = None,
    watch: Watch | None = None,
) -> None:
    """Train many a little, rank them, and train the best to the end (Egele et al.).

    As many candidates are begun as leave enough to train the best `keep` to the end. With by =
    "training" they are ranked by the sum of training losses, which needs no evaluation.

    Args:
        replay: The table and the budget.
        sampler: Proposes candidates.
        steps: For which every candidate is trained.
        keep: How many are trained to the end; fewer where the budget is too small.
        by: `validation` or `training`.
        probe_steps: Steps of every probed candidate that its sampler's probe has made already.
        pruner, watch: What is pruned after the horizon of a probe is not ranked.

    Source: R. Egele et al., arXiv:2307.15422 and 2404.04111.
    """
    facts = replay.table.facts
    study = replay.study(sampler, pruner)
    evaluation = facts.evaluation_cost if by == "validation" else 0.0
    rest = facts.steps - steps + facts.evaluation_cost
    keep = max(1, min(keep, int(replay.limit / (rest + steps + evaluation))))
    begun: list[tuple[float, int, optuna.Trial, int]] = []
    most_expensive = 0.0
    while (
        not begun and not replay.is_spent
    ) or replay.spent + most_expensive + keep * rest <= replay.limit:
        before = replay.spent
        trial, cell = replay.ask(study)
        done = _made_by_probe(trial, probe_steps)
        if watch is not None:
            is_kept = _survives(replay, study, trial, cell, watch, done)
            most_expensive = max(most_expensive, replay.spent - before)
            if not is_kept:
                continue
            done = max(done, watch.horizon)
        replay.charge(max(0, steps - done))
        if by == "validation":
            score = replay.evaluate(cell, steps)
        else:
            score = float(replay.table.losses[cell, :steps].sum())
        begun.append((score if np.isfinite(score) else np.inf, trial.number, trial, cell))
        most_expensive = max(most_expensive, replay.spent - before)
    begun.sort(key=lambda one: one[:2])
    for place, (score, _, trial, cell) in enumerate(begun):
        if np.isfinite(score):
            trial.report(score, steps)
        if place < keep and not replay.is_spent:
            replay.charge(facts.steps - steps)
            value = replay.complete(cell)
            is_known = np.isfinite(value)
            study.tell(trial, value if is_known else None, None if is_known else TrialState.PRUNED)
        else:
            study.tell(trial, state=TrialState.PRUNED)
