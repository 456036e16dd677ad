"""A sampler that probes many candidates and keeps one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState

from lyapopt.dynamics.randomness import derive_seed
from lyapopt.errors import UserError
from lyapopt.probe import Probe
from lyapopt.search._optuna import (
    contains,
    draw_relative,
    exact,
    given_params,
    identifier,
    independent_without_warnings,
    logical_number,
    set_attribute,
)
from lyapopt.search.arguments import SearchArguments
from lyapopt.search.probing.building import Build, Params
from lyapopt.search.probing.probes import Probed, ProbedStart, SteeringFailedError, probe_all
from lyapopt.search.probing.records import SCREENING, ScreenedCandidate, ScreeningRecord
from lyapopt.search.probing.samplers import ProbingSampler, charge_probes
from lyapopt.search.screening.rules import Forecasts, Rule, early_loss_rule, paper_rule
from lyapopt.search.space import Entry, SearchSpace, as_space


class ScreeningSampler(ProbingSampler):
    """Draws many candidates from a base sampler, probes them in one batch, and keeps one.

    Each probe costs `(neighbours + 1) * horizon` gradient evaluations; they are counted in the
    trial's `gradient_evaluations`, and every candidate's measurement is kept in its user attribute
    `lyapopt:screening`. An `Objective` goes on from the kept one's probe.

    Without a declared search space the parameters that all finished trials have are screened; the
    first trial of a study, of which nothing is known yet, is the base sampler's.

    Args:
        base: Proposes candidates; `TPESampler()` by default, whose estimators are fitted once a
            trial: the first candidate is what it proposes, the others are draws from its density
            of good trials.
        build: `params -> Training`, the same as the objective's.
        probe: The measurement; `Probe()` by default.
        candidates: How many are probed for each trial.
        rule: `forecast`: highest expected improvement, forecast from parameters, early losses and
            exponent (the lowest early loss until there are ten trials to learn from): the best of
            the three for activations (`studies/RESULTS.md`; init seeds are picked by none of them).
            `loss`: the lowest loss at the end of the probe. `paper`: of those with an initial loss
            in the inter-quartile range, the lowest exponent. Or a function from a list of
            `ScreenedCandidate` to the index of the one to keep.
        search_space: The declared space, if there is one. Its seeds are screened as well.
        seed: Seed of the study, as its objective has it. `None` draws one.

    Raises:
        UserError: If `candidates` or `rule` is not one, or `base` probes as well.

    Example:
        >>> from optuna.distributions import FloatDistribution
        >>> from lyapopt.tasks.builder import TaskBuilder
        >>> space = {"lr": FloatDistribution(1e-3, 10.0, log=True)}
        >>> build = TaskBuilder("xor", {"steps": 40})
        >>> sampler = ScreeningSampler(build=build, search_space=space, candidates=4, seed=0)
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> trial = optuna.create_study(sampler=sampler).ask(space)
    """

    def __init__(
        self,
        base: BaseSampler | None = None,
        *,
        build: Build,
        probe: Probe | None = None,
        candidates: int = 16,
        rule: Literal["forecast", "loss", "paper"] | Rule = "forecast",
        search_space: SearchSpace | Mapping[str, Entry] | None = None,
        seed: int | None = None,
    ) -> None:
        check = SearchArguments("ScreeningSampler")
        check.sampler(base)
        check.build(build)
        check.probe(probe)
        check.whole("candidates", candidates, least=1)
        if rule not in ("forecast", "loss", "paper"):
            check.function("rule", rule, "'forecast', 'loss', 'paper' or a function")
        if search_space is not None:
            check.space(search_space)
        check.optional(check.whole, "seed", seed)
        super().__init__(base or TPESampler())
        self._build = build
        self._probe = probe or Probe()
        self._candidates = candidates
        self._rule = rule
        self._space = as_space(search_space)
        self._seed = secrets.randbits(32) if seed is None else seed
        self._common = IntersectionSearchSpace()
        self._forecasts = Forecasts()
        self._starts: dict[tuple[str, int], ProbedStart] = {}

    @property
    def screened_seeds(self) -> frozenset[str]:
        """Seed parameters that this sampler draws itself, in order to screen them."""
        return frozenset(self._space.seeds if self._space is not None else ())

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Everything that is declared, or that all finished trials have.

        What is declared comes first and in its order, each parameter after those that its
        condition reads: candidates are drawn in this order.
        """
        space = dict(self._base.infer_relative_search_space(study, trial))
        if self._space is not None:
            return {**self._space.distributions, **space, **self._space.distributions}
        with self._lock:
            common = self._common.calculate(study)
        return {**common, **space}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Parameters of the candidate that the rule keeps.

        Raises:
            SteeringFailedError: If no candidate could be probed; the message has the first reason.
            UserError: If the user's rule returns no index; what the rule itself raises is passed
                on. The probes are recorded and charged in either case.
        """
        if not search_space:
            return self._base.sample_relative(study, trial, search_space)
        drawn = self._draw_all(study, trial, search_space)
        number = logical_number(trial)
        jobs = [(self._built_from(trial, params), number) for params in drawn]
        probed = probe_all(self._build, self._probe, jobs, self._seed)
        measured = [
            ScreenedCandidate.of(params, one.measurement)
            for params, one in zip(drawn, probed, strict=True)
        ]
        if all(one.measurement is None for one in probed):
            raise SteeringFailedError(_reason(probed[0])) from probed[0].error
        try:
            chosen = self._choose(study, measured, search_space)
        except Exception:
            self._keep(study, trial, measured, probed, None)  # the probes have been made
            raise
        self._keep(study, trial, measured, probed, chosen)
        return drawn[chosen]

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Charge the probes to a trial whose objective did not."""
        with self._lock:
            self._starts.pop(identifier(study, trial), None)
        record = ScreeningRecord.of_trial(trial)
        if record is not None:
            charge_probes(study, trial, record.gradient_evaluations)
        super().after_trial(study, trial, state, values)

    def start_of(self, trial: optuna.Trial) -> ProbedStart | None:
        """The kept candidate's first steps, of a running trial of this process."""
        return self._starts.get(identifier(trial.study, trial))

    def _draw_all(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> list[dict[str, Any]]:
        """The parameters of all candidates."""
        known = self._base.infer_relative_search_space(study, trial)
        known = {name: d for name, d in known.items() if name in search_space} or search_space
        given = given_params(trial)
        relative = draw_relative(self._base, study, trial, known, self._candidates)
        with independent_without_warnings(self._base):
            drawn = [
                self._draw(study, trial, k, search_space, one) for k, one in enumerate(relative)
            ]
        # A trial that was enqueued whole leaves nothing to choose.
        return drawn[:1] if all(drawn[0] == one for one in drawn[1:]) and given else drawn

    def _draw(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        k: int,
        search_space: Mapping[str, BaseDistribution],
        relative: Params,
    ) -> dict[str, Any]:
        """The k-th candidate: relative where the base sampler can, independent elsewhere."""
        seeds = self._space.seeds if self._space is not None else {}
        given = given_params(trial)
        drawn: dict[str, Any] = {}
        for name, distribution in search_space.items():
            space = self._space
            if space is not None and not space.applies(name, space.with_constants(drawn)):
                continue
            if name in given:
                drawn[name] = given[name]  # as it is, also beside the space
            elif name in seeds:
                key = (self._seed, logical_number(trial), "candidate", k, name)
                drawn[name] = seeds[name].seed_of(derive_seed(*key))
            elif name in relative and contains(distribution, relative[name]):
                drawn[name] = exact(relative[name], distribution)
            else:
                value = self._base.sample_independent(study, trial, name, distribution)
                drawn[name] = exact(value, distribution)
        return drawn

    def _built_from(self, trial: FrozenTrial, params: Params) -> dict[str, Any]:
        """What the objective will build from, if the trial is given these parameters."""
        if self._space is None:
            return {**given_params(trial), **params}
        undeclared = {n: v for n, v in trial.params.items() if n not in self._space.parameters}
        return {**undeclared, **self._space.with_constants(params)}

    def _choose(
        self,
        study: optuna.Study,
        measured: list[ScreenedCandidate],
        search_space: Mapping[str, BaseDistribution],
    ) -> int:
        """The index of the candidate that the rule keeps."""
        if self._rule == "loss":
            return early_loss_rule(measured)
        if self._rule == "paper":
            return paper_rule(measured)
        if self._rule == "forecast":
            # A seed is a number without order, of which there is nothing to learn.
            named = {n: d for n, d in search_space.items() if n not in self.screened_seeds}
            return self._forecasts.choose(study, measured, named, self._seed % 2**32)
        assert callable(self._rule)
        chosen = self._rule(measured)
        if isinstance(chosen, bool) or not isinstance(chosen, int):
            raise UserError(f"ScreeningSampler: the rule must return an index, not {chosen!r}")
        if not 0 <= chosen < len(measured):
            raise UserError(
                f"ScreeningSampler: the rule returned {chosen} for {len(measured)} candidates"
            )
        return chosen

    def _keep(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        measured: list[ScreenedCandidate],
        probed: list[Probed],
        chosen: int | None,
    ) -> None:
        """Record the candidates in the trial, and keep the first steps of the chosen one."""
        measurements = [one.measurement for one in probed if one.measurement is not None]
        record = ScreeningRecord(
            self._rule if isinstance(self._rule, str) else getattr(self._rule, "__name__", "own"),
            chosen,
            tuple(measured),
            sum(measurement.gradient_evaluations for measurement in measurements),
            sum(measurement.examples for measurement in measurements),
        )
        set_attribute(study, trial, SCREENING, record.as_attribute())
        start = None if chosen is None else probed[chosen].start
        if start is not None:
            with self._lock:
                self._starts[identifier(study, trial)] = start

    def _state_in_another_process(self) -> dict[str, object]:
        return {"_starts": {}, "_forecasts": Forecasts()}


def _reason(probed: Probed) -> str:
    error = probed.error
    text = " ".join(str(error).split())
    return f"no candidate could be probed: {probed.where} raised {type(error).__name__}: {text}"
