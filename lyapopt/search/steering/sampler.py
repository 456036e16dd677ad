"""A sampler that steers the learning rate to the edge of chaos."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.probe import Probe
from lyapopt.search._optuna import (
    contains,
    exact,
    frozen_in_memory,
    given_params,
    identifier,
    logical_number,
    set_attribute,
)
from lyapopt.search.arguments import SearchArguments
from lyapopt.search.probing.building import Build, Params
from lyapopt.search.probing.probes import ProbedStart
from lyapopt.search.probing.records import STEERING, SteeringRecord
from lyapopt.search.probing.samplers import ProbingSampler, charge_probes
from lyapopt.search.space import Entry, SearchSpace
from lyapopt.search.steering.declared import declared_space
from lyapopt.search.steering.edge_cache import CachedEdges, continuous, line_key, params_key
from lyapopt.search.steering.search import Request, SearchSettings, Steered, steer_lines
from lyapopt.search.steering.search_line import Axis, is_numeric
from lyapopt.search.steering.target import History
from lyapopt.space import ConstantParameter

_Key = tuple[str, int]


class EdgeOfChaosSampler(ProbingSampler):
    """Steers one parameter, mostly the learning rate, to a target exponent; a base sampler does
    the rest.

    For every trial the steered parameter is found by bracketing and bisection on the measured
    exponent of the very network that the trial will train: rates are probed for a few steps each,
    many in one stacked batch, until the one is found at which small perturbations begin to grow.
    The base sampler never sees the steered parameter, so that it has one dimension less to learn.

    Every probe costs `(neighbours + 1) * horizon` gradient evaluations; they are counted in the
    trial's `gradient_evaluations`, and each probe is kept in the trial's user attribute
    `lyapopt:steering`. An `Objective` goes on from the winner's probe instead of repeating it.

    Without a declared search space (define-by-run) the steered parameter must be suggested after
    those that it depends on; the sampler says so when it was not. With `search_space` the order
    does not matter.

    Args:
        base: Proposes everything else; `TPESampler()` by default.
        build: `params -> Training`, the same as the objective's.
        probe: The measurement; `Probe()` by default.
        steer: Name of the steered parameter.
        target: Exponent to be met, nats per step; `adaptive` starts from the values that were
            measured to be good, and moves to those of the best finished trials.
        search_space: The declared space, if there is one.
        rates_at_once: Rates of one search line that are probed together; 1 is plain bisection,
            which needs the fewest gradients, more make wider and fewer stacks.
        rounds: Rounds of probes at most. The search ends when the edge is known to a quarter of a
            decade.
        reuse: Cache edges: of trials that differ in their seeds (`SeedParameter`s of
            `search_space`) and its continuous parameters alone the first is steered, and the others
            draw their rates so many decades above its rate, with as much for a standard deviation,
            without probes; other trials are searched near the cached edges. `None` steers every
            trial by its own probes. It pays where many trials are trained a little and ranked.
        n_steered_trials: How many trials are steered, from the first one on. Later ones have all
            parameters from the base sampler, which learns from the steered ones: a search begins
            at rates that train, and may leave the edge of chaos. `None` steers all.
        seed: Seed of the study, as its objective has it; networks and targets follow from it and
            the trial number. `None` draws one.

    Raises:
        UserError: If `steer` is not in the declared space or not numeric, a number is out of its
            range, or `base` probes as well.

    Example:
        >>> from lyapopt.tasks.builder import TaskBuilder
        >>> build = TaskBuilder("xor", {"steps": 40, "activation": "tanh"})
        >>> sampler = EdgeOfChaosSampler(build=build, seed=0)
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(sampler=sampler)
        >>> trial = study.ask({"lr": optuna.distributions.FloatDistribution(1e-3, 10.0, log=True)})
        >>> trial.params["lr"] > 0.01
        True
    """

    def __init__(
        self,
        base: BaseSampler | None = None,
        *,
        build: Build,
        probe: Probe | None = None,
        steer: str = "lr",
        target: float | Literal["adaptive"] = "adaptive",
        search_space: SearchSpace | Mapping[str, Entry] | None = None,
        rates_at_once: int = 3,
        rounds: int = 3,
        reuse: float | None = None,
        n_steered_trials: int | None = None,
        seed: int | None = None,
    ) -> None:
        check = SearchArguments("EdgeOfChaosSampler")
        check.sampler(base)
        check.build(build)
        check.probe(probe)
        check.instance("steer", steer, str, "the name of a parameter")
        if isinstance(target, str):
            check.choice("target", target, ("adaptive",))
        else:
            check.real("target", target, above=0)
        if search_space is not None:
            check.space(search_space)
        check.optional(check.whole, "seed", seed)
        check.optional(check.whole, "n_steered_trials", n_steered_trials, least=1)
        super().__init__(base or TPESampler())
        self._space = declared_space(search_space, steer)
        self._settings = SearchSettings(
            build=build,
            probe=probe or Probe(),
            steer=steer,
            target=None if isinstance(target, str) else float(target),
            rates_at_once=rates_at_once,
            rounds=rounds,
            reuse=reuse,
            seed=secrets.randbits(32) if seed is None else seed,
        )
        self._most = n_steered_trials
        self._drawn: dict[_Key, dict[str, Any]] = {}
        self._answers: dict[_Key | str, Steered] = {}
        self._known: dict[_Key, frozenset[str]] = {}
        self._warned: set[str] = set()
        self._history = History()
        self._edges = CachedEdges()

    @property
    def steer(self) -> str:
        """Name of the steered parameter."""
        return self._settings.steer

    @property
    def probe(self) -> Probe:
        """The measurement."""
        return self._settings.probe

    def steers(self, trial: optuna.Trial | FrozenTrial) -> bool:
        """Whether a trial is among those that are steered."""
        return self._most is None or logical_number(trial) < self._most

    # What Optuna calls

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The base sampler's space without the steered parameter, unless that is categorical."""
        space = self._base.infer_relative_search_space(study, trial)
        if not self.steers(trial):
            return space
        return {n: d for n, d in space.items() if n != self.steer or not is_numeric(d)}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """What the base sampler draws; and the steered parameter, if the space has it."""
        if not self.steers(trial):
            return super().sample_relative(study, trial, search_space)
        steered = search_space.get(self.steer)
        if steered is None or not is_numeric(steered):
            return self._draw_relative(study, trial, search_space)
        others = {name: d for name, d in search_space.items() if name != self.steer}
        found = self._draw_relative(study, trial, others)
        return {**found, self.steer: self._steered_value(study, trial, steered)}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The steered parameter by probes, everything else from the base sampler.

        Raises:
            SteeringFailedError: If the build function or the first steps of a probe raise: the
                trial fails with its reason.
        """
        if not self.steers(trial):
            return super().sample_independent(study, trial, param_name, param_distribution)
        if param_name != self.steer:
            drawn = self._drawn.get(identifier(study, trial), {})
            if param_name in drawn and contains(param_distribution, drawn[param_name]):
                return drawn[param_name]
            return super().sample_independent(study, trial, param_name, param_distribution)
        if not is_numeric(param_distribution):
            self._warn(f"{self.steer!r} is categorical and cannot be steered", trial)
            return super().sample_independent(study, trial, param_name, param_distribution)
        return self._steered_value(study, trial, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Charge the probes to a trial whose objective did not, and report what went unnoticed."""
        key = identifier(study, trial)
        with self._lock:
            steered = self._answers.pop(key, None)
            known = self._known.pop(key, None)
            self._drawn.pop(key, None)
        if steered is not None and steered.record is not None:
            charge_probes(study, trial, steered.record.gradient_evaluations)
            late = sorted(set(trial.params) - {self.steer} - (known or frozenset()))
            if late:
                self._warn_once(
                    f"{self.steer!r} was suggested before {', '.join(late)}, and was steered "
                    "without knowing them; suggest it last, or give the sampler the search space"
                )
        elif (
            self._space is None
            and self.steers(trial)
            and self.steer not in trial.params
            and state in (TrialState.COMPLETE, TrialState.PRUNED)
        ):
            self._warn(f"there is no parameter {self.steer!r} to steer", trial)
        super().after_trial(study, trial, state, values)

    # Steering

    def propose_rates(
        self,
        list_of_params: Sequence[Params],
        *,
        trials: Sequence[optuna.Trial] | None = None,
        distribution: BaseDistribution | None = None,
    ) -> list[int | float]:
        """Steer a whole group of trials, all of their probes in stacked batches.

        Optuna asks for one trial after the other; what is found here is what `sample_independent`
        answers with afterwards.

        Args:
            list_of_params: The parameters of each trial, all but the steered one.
            trials: The trials, if they have been asked for. Their study's history gives the
                adaptive target, and a failure is kept until the trial suggests the parameter.
            distribution: The distribution of the steered parameter; by default that of the
                declared space.

        Returns:
            One rate a trial; NaN for one that failed.

        Raises:
            UserError: If there is no distribution, or it is not numeric.
        """
        axis = self._axis(distribution)
        frozen = [frozen_in_memory(trial) for trial in trials or ()]
        numbers = [logical_number(trial) for trial in frozen] or list(range(len(list_of_params)))
        history = self._history.ranked(trials[0].study) if trials else []
        found = steer_lines(
            self._settings,
            [
                Request(dict(params), number, axis, self._line_key(params))
                for params, number in zip(list_of_params, numbers, strict=True)
            ],
            history,
            self._former(trials[0].study) if trials else [],
        )
        keys: list[_Key | str] = [identifier(trial.study, trial) for trial in trials or ()]
        keys = keys or [params_key(params) for params in list_of_params]
        with self._lock:
            self._answers.update(zip(keys, found, strict=True))
        return [steered.value for steered in found]

    def _axis(self, distribution: BaseDistribution | None) -> Axis:
        """The axis of the steered parameter, by default that of the declared space."""
        if distribution is None and self._space is not None:
            distribution = self._space.distributions.get(self.steer)
        if distribution is None:
            raise UserError(
                f"propose_rates: give the distribution of {self.steer!r}, or the sampler its "
                "search_space"
            )
        if not is_numeric(distribution):
            raise UserError(f"propose_rates: {self.steer!r} is not numeric but {distribution!r}")
        return Axis(distribution)

    def start_of(self, trial: optuna.Trial) -> ProbedStart | None:
        """The first steps at the rate that was found, of a running trial of this process."""
        steered = self._answers.get(identifier(trial.study, trial))
        return None if steered is None else steered.start

    def _steered_value(
        self, study: optuna.Study, trial: FrozenTrial, distribution: BaseDistribution
    ) -> int | float:
        if distribution.single():
            return Axis(distribution).value(Axis(distribution).low)
        params = self._params_of(study, trial)
        key = identifier(study, trial)
        steered = self._answer(key, params)
        if steered is None:
            number, axis = logical_number(trial), Axis(distribution)
            request = Request(params, number, axis, self._line_key(params))
            ranked, former = self._history.ranked(study), self._former(study)
            [steered] = steer_lines(self._settings, [request], ranked, former)
        with self._lock:
            self._answers[key] = steered
            self._known[key] = frozenset(params)
        if steered.record is not None:
            set_attribute(study, trial, STEERING, steered.record.as_attribute())
        if steered.error is not None:
            raise steered.error
        return steered.value

    def _former(self, study: optuna.Study) -> list[SteeringRecord]:
        """Records of former trials, if their edges are cached."""
        return [] if self._settings.reuse is None else self._edges.of(study)

    def _line_key(self, params: Params) -> str:
        space = self._space or SearchSpace({})
        return line_key(params, {*space.seeds, *continuous(space.distributions)})

    def _answer(self, key: _Key, params: Params) -> Steered | None:
        with self._lock:
            return self._answers.get(key) or self._answers.pop(params_key(params), None)

    def _params_of(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """What the trial will be built from, as far as it is known.

        Drawn relatively, suggested already, and (with a declared space) drawn now from the base
        sampler, which is kept and given when it is asked for.
        """
        drawn, given = self._drawn.get(identifier(study, trial), {}), given_params(trial)
        known = {**drawn, **given}
        known.pop(self.steer, None)
        if self._space is None:
            return known
        params: dict[str, Any] = {}
        for name, parameter in self._space.parameters.items():
            if name == self.steer or not parameter.is_active(params):
                continue
            if isinstance(parameter, ConstantParameter):
                params[name] = parameter.value
                continue
            d = self._space.distributions[name]
            if name in given or (name in drawn and contains(d, drawn[name])):
                params[name] = known[name]
            else:
                value = self._base.sample_independent(study, trial, name, d)
                params[name] = exact(value, d)
                self._remember(study, trial, {name: params[name]})
        # What is declared and left out is not the trial's, though the base sampler drew it.
        return {n: v for n, v in known.items() if n not in self._space.parameters} | params

    def _draw_relative(
        self, study: optuna.Study, trial: FrozenTrial, space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the base sampler draws together, which is remembered."""
        drawn = self._base.sample_relative(study, trial, space)
        found = {name: exact(v, space[name]) if name in space else v for name, v in drawn.items()}
        self._remember(study, trial, found)
        return found

    def _remember(self, study: optuna.Study, trial: FrozenTrial, drawn: Params) -> None:
        with self._lock:
            self._drawn.setdefault(identifier(study, trial), {}).update(drawn)

    # Warnings, each given once

    def _warn(self, what: str, trial: FrozenTrial) -> None:
        names = ", ".join(sorted(trial.params)) or "none yet"
        self._warn_once(
            f"{what}; the parameters there are: {names}. The base sampler carries on without it"
        )

    def _warn_once(self, text: str) -> None:
        subject = text.partition(" ")[2][:24]
        with self._lock:
            if subject in self._warned:
                return
            self._warned.add(subject)
        warnings.warn(f"EdgeOfChaosSampler: {one_line(text)}", UserWarning, stacklevel=3)

    def _state_in_another_process(self) -> dict[str, object]:
        per_trial: dict[str, object] = {"_answers": {}, "_drawn": {}, "_known": {}}
        return per_trial | {"_history": History(), "_edges": CachedEdges()}
