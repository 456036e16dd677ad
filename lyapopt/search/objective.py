"""What a trial does: suggest, build, probe, train, record."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

import optuna
from optuna.trial import BaseTrial

from lyapopt.dynamics import Training
from lyapopt.dynamics.compilation import Compile
from lyapopt.probe import Probe
from lyapopt.search import attributes
from lyapopt.search._optuna import attached, is_fixed, logical_number
from lyapopt.search.arguments import SearchArguments
from lyapopt.search.candidate import Candidate, Outcome
from lyapopt.search.loss_first import Neighbours, needed_fall
from lyapopt.search.probing.building import Build, Params, build_training, same_params
from lyapopt.search.probing.probes import SteeringFailedError
from lyapopt.search.probing.samplers import SteersGroups, first_steps_of, steering_sampler
from lyapopt.search.recording.cost import charge_probes, show_cost
from lyapopt.search.recording.destination import Recording
from lyapopt.search.reporting import Reporter, Unobserved
from lyapopt.search.run_record import run_record
from lyapopt.search.space import Entry, SearchSpace, as_space, as_suggestion
from lyapopt.search.steering.search_line import is_numeric
from lyapopt.search.training_group import GroupSettings, TrainingGroup
from lyapopt.settings import NanPolicy, RecordSettings, Value
from lyapopt.store import RunRecord, TrajectoryStore, new_run_id

_log = logging.getLogger(__name__)


class TrialFailedError(RuntimeError):
    """A trial whose build or training raised; `Study.optimize(catch=...)` takes it."""


class Objective:
    """An Optuna objective whose first steps are a probe, with everything recorded.

    A network trains in its own precision. Where that is not float64, its probe is a twin in float64
    beside the training, which begins at step 0 (see `lyapopt.probe.reference_of`).

    Called on a trial it suggests the parameters, builds the training, measures the exponent over
    the probe's horizon, reports and asks the pruner at checkpoints, trains to the end, writes all
    trajectories, exponents and decisions to the database of the study, and returns the value.
    `prepare`, `train` and `finish` do the same for a group of trials in stacked tensors.

    Called on a trial without a study (`study.best_trial`, a `FixedTrial`) it trains with that
    trial's parameters, to the end whatever a pruner may have said, and leaves nothing behind.

    Args:
        build: `params -> Training`.
        search_space: A `SearchSpace`, a mapping of names to distributions, lists and constants, or
            a function `trial -> params`.
        value: What the study optimises: final validation `loss`; `metric`; the `exponent`, a cheap
            objective that trains nothing beyond the probe (lower is not better in general: see
            `LyapunovPruner` and `EdgeOfChaosSampler` for what the exponent is good for); or `both`,
            loss and exponent as two objectives. With two, Optuna has no pruning by reported
            values; what remains is the rule of a `LyapunovPruner`, which is asked at every
            evaluation, while whatever it wraps is not.
        probe: The measurement; `Probe()` by default.
        record: What is kept of each trial, in one transaction, in our tables of the database that
            the study is in; `False` keeps nothing, and so does the environment variable
            `LYAPOPT_RECORD=0`. A study in memory or without SQL, and one whose database does not
            take tables of ours, is said once, and trials run as ever.
        store: Where it is kept instead.
        seed: Study seed.
        nan: What becomes of a trial whose loss stops being finite, or comes above 1000 times the
            first ones (`VerdictRule.blow_up`): `prune`, `fail` or `worst`. Such a loss is never
            reported: the trial keeps the values from before, of which there are none where it
            blew up within the probe.
        reports: How often a trial is evaluated and reported at most.
        compile: Whether steps are compiled: `auto` where it pays, `on` or `off`.
        networks: By logical number, the trial of another study whose network each trial trains:
            what a build function draws follows from that one's number. It is in the user
            attribute `promoted_from`.
        stop_at: Steps after which every training is stopped and its value taken, its schedule as
            it is: candidates are ranked by it, and the best trained to the end by another
            objective. `None` trains to the end.
        neighbours: Of which trials the exponent is measured. `auto`: where a `LyapunovPruner` with
            a limit `slow` prunes, and nothing else reads exponents, only of trials that the loss
            lets through (see there); `all` measures all.
        constrain_hot: Give every trial the constraint `not hot`: its exponent less this number,
            nats per step, which samplers that know constraints keep at zero or below.

    Example:
        >>> from lyapopt.tasks.builder import TaskBuilder
        >>> from optuna.distributions import FloatDistribution
        >>> build = TaskBuilder("xor", {"steps": 40, "activation": "tanh"})
        >>> objective = Objective(build, {"lr": FloatDistribution(0.01, 1.0, log=True)})
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
        >>> study.optimize(objective, n_trials=2)
        >>> "exponent" in study.trials[0].user_attrs
        True
    """

    def __init__(
        self,
        build: Build,
        search_space: SearchSpace | Mapping[str, Entry] | Callable[[optuna.Trial], Params],
        value: Value = "loss",
        probe: Probe | None = None,
        record: RecordSettings | bool | None = None,
        *,
        store: TrajectoryStore | None = None,
        seed: int = 0,
        nan: NanPolicy = "prune",
        reports: int = 10,
        constrain_hot: float | None = None,
        compile: Compile = "auto",
        networks: Sequence[int] | None = None,
        stop_at: int | None = None,
        neighbours: Neighbours = "auto",
    ) -> None:
        check = SearchArguments("Objective")
        check.build(build)
        check.space(search_space, may_be_function=True)
        check.choice("value", value, get_args(Value))
        check.probe(probe)
        self._recording = Recording.of(check, record, store)
        check.choice("nan", nan, get_args(NanPolicy))
        check.choice("compile", compile, get_args(Compile))
        check.choice("neighbours", neighbours, get_args(Neighbours))
        check.optional(check.real, "constrain_hot", constrain_hot)
        numbers = "a list of trial numbers"
        check.optional(check.instance, "networks", networks, types=Sequence, expected=numbers)
        for number in networks or ():
            check.whole("networks: a trial number", number, least=0)
        stop_at = check.optional(check.whole, "stop_at", stop_at, least=1)
        self._build = build
        self._stop_at = stop_at
        self._neighbours = neighbours
        self._space = as_space(search_space)
        self._suggest = as_suggestion(search_space if self._space is None else self._space)
        self._reporter = Reporter(constrain_hot)
        self._networks = networks
        self._settings = GroupSettings(
            probe=probe or Probe(),
            record=self._recording.settings,
            value=value,
            nan=nan,
            reports=check.whole("reports", reports, least=1),
            seed=check.whole("seed", seed),
            compile=compile,
        )

    @property
    def seed(self) -> int:
        """The study seed."""
        return self._settings.seed

    @property
    def reports(self) -> int:
        """How often a trial is evaluated at most."""
        return self._settings.reports

    def __call__(self, trial: BaseTrial) -> float | tuple[float, ...]:
        """Run one trial, of a study or without one.

        Raises:
            optuna.TrialPruned: If a pruner ends it, or it diverges under `nan: prune`.
            TrialFailedError: If the build function or the training raises; what it raised is the
                cause.
            Exception: What a sampler, a pruner or a storage raises, as it is.
        """
        if not isinstance(trial, optuna.Trial):
            return _value_of(self._repeat(trial))
        candidate = self.prepare(trial)
        try:
            self.train([candidate])
        except BaseException as error:
            self._finish_after(candidate, error)
            raise
        self.finish(candidate)
        return _value_of(candidate)

    def _repeat(self, trial: BaseTrial) -> Candidate:
        """Train with the parameters of a trial that belongs to no study."""
        candidate = Candidate(cast(Any, trial), logical_number(trial), new_run_id())
        self._complete(candidate)
        if candidate.is_running:
            TrainingGroup([candidate], self._settings, Unobserved()).train()
        return candidate

    def _finish_after(self, candidate: Candidate, error: BaseException) -> None:
        """Finish a candidate whose training an error has ended, and let that error be seen.

        It may come from the database that is written here, which then fails again.
        """
        if not isinstance(error, Exception):
            candidate.outcome = Outcome("interrupted", reason="interrupted")
        elif candidate.is_running:
            candidate.fail("sampler or pruner", error)
        try:
            self.finish(candidate)
        except Exception:
            _log.warning("trial %d could not be recorded", candidate.trial.number, exc_info=True)

    def prepare(self, trial: optuna.Trial) -> Candidate:
        """Suggest the parameters of a trial and build its training.

        A build function that raises ends the candidate as failed; it is not an error here. A
        parameter that is to be steered is left to `train`, which steers a whole group at once.
        """
        number = logical_number(trial)
        candidate = Candidate(trial, number, new_run_id())
        if self._networks is not None:
            attributes.show(trial, attributes.PROMOTED_FROM, self._networks[number])
        sampler = self._steering(candidate)
        if sampler is None:
            self._complete(candidate)
        else:
            assert self._space is not None
            candidate.params = self._space.suggest(trial, without=sampler.steer)
            if not self._space.applies(sampler.steer, candidate.params):
                self._complete(candidate)
        return candidate

    def _steering(self, candidate: Candidate) -> SteersGroups | None:
        """The sampler, if it steers a declared parameter: then a group is steered in one batch."""
        sampler = steering_sampler(candidate.trial.study.sampler)
        if sampler is None or self._space is None or not sampler.steers(candidate.trial):
            return None
        distribution = self._space.distributions.get(sampler.steer)
        if distribution is None or not is_numeric(distribution) or distribution.single():
            return None
        return None if is_fixed(candidate.trial, sampler.steer) else sampler

    def _complete(self, candidate: Candidate) -> None:
        """Suggest what is left, and build."""
        trial = candidate.trial
        try:
            candidate.params = self._suggest(trial)
        except SteeringFailedError as error:
            _log.debug("steering raised", exc_info=True)
            candidate.outcome = Outcome("failed", reason=f"steering: {error}")
            return
        try:
            training = build_training(
                self._build, candidate.params, self.seed, self._network(candidate.number)
            )
            candidate.training = _stopped(training, self._stop_at)
        except (Exception, SystemExit) as error:
            _log.debug("build raised", exc_info=True)
            candidate.fail("build", error)
            return
        start = first_steps_of(trial) if isinstance(trial, optuna.Trial) else None
        # Equal weights do not make equal trainings: the optimiser follows from the parameters, too.
        if start is not None and same_params(start.params, candidate.params):
            candidate.start = start

    def _network(self, number: int) -> int:
        """The number that a trial's network follows from."""
        return number if self._networks is None else self._networks[number]

    def steer(self, candidates: Sequence[Candidate]) -> None:
        """Steer those of a group that wait for it, in one batch, and build them; else nothing."""
        waiting = [c for c in candidates if c.is_running and c.training is None]
        if not waiting:
            return
        sampler = steering_sampler(waiting[0].trial.study.sampler)
        assert sampler is not None
        assert self._space is not None
        sampler.propose_rates(
            [candidate.params for candidate in waiting],
            trials=[candidate.trial for candidate in waiting],
            distribution=self._space.distributions[sampler.steer],
        )
        for candidate in waiting:
            self._complete(candidate)

    def train(self, candidates: Sequence[Candidate]) -> None:
        """Train candidates together until each has an outcome."""
        self.steer(candidates)
        running = [candidate for candidate in candidates if candidate.is_running]
        if not running:
            return
        study = running[0].trial.study
        is_minimized = study.directions[0] == optuna.study.StudyDirection.MINIMIZE
        worst = math.inf if is_minimized else -math.inf
        slow = self._needed_fall(study)
        TrainingGroup(running, self._settings, self._reporter, worst, slow).train()

    def _needed_fall(self, study: optuna.Study) -> float | None:
        """Share that a loss must fall by for neighbours to be run; `None` runs them for all."""
        is_asked = self._neighbours == "auto" and self._settings.value in ("loss", "metric")
        return needed_fall(study) if is_asked and not self._reporter.constrains else None

    def finish(self, candidate: Candidate) -> None:
        """Write a candidate that has ended to the database, and its cost to the trial.

        Must come before `tell`, which freezes attributes and commits the trial.
        """
        self.conclude(candidate)
        outer = attached(candidate.trial)
        if isinstance(outer, Candidate) and outer.is_leased:
            kept = self._settings.record if self._recording.is_on else None
            outer.adopt(candidate, self._settings.probe, kept)
        else:
            self._recording.keep(candidate, lambda: self.record_of(candidate))

    def conclude(self, candidate: Candidate) -> None:
        """Write the cost and the verdict of a candidate that has ended to the trial."""
        assert candidate.outcome is not None
        state = candidate.outcome.state
        if state in (attributes.FAILED, attributes.INTERRUPTED):
            attributes.show(candidate.trial, attributes.VERDICT, state)
        elif _verdict_has_changed(candidate):
            attributes.show(candidate.trial, attributes.VERDICT, str(candidate.verdict))
        charge_probes(candidate)
        show_cost(candidate)

    def record_of(self, candidate: Candidate) -> RunRecord:
        """What the store keeps of a candidate that has ended."""
        return run_record(candidate, self._settings.probe, self._settings.record, self.seed)


def _value_of(candidate: Candidate) -> float | tuple[float, ...]:
    """The value of a candidate that has ended.

    Raises:
        optuna.TrialPruned: If it was pruned.
        TrialFailedError: If it failed.
    """
    outcome = candidate.outcome
    assert outcome is not None
    if outcome.state == "pruned":
        raise optuna.TrialPruned(outcome.reason)
    if outcome.state == "failed":
        raise TrialFailedError(outcome.reason) from candidate.error
    assert outcome.value is not None
    return outcome.value


def _verdict_has_changed(candidate: Candidate) -> bool:
    measured = None if candidate.measurement is None else candidate.measurement.verdict
    return candidate.verdict != measured


def _stopped(training: Training, stop_at: int | None) -> Training:
    """The training, ended early if it is longer."""
    if stop_at is None or training.steps is None or training.steps <= stop_at:
        return training
    return dataclasses.replace(training, steps=stop_at)
