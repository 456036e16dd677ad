"""Searching many lines at once: every round of probes of all of them is one stacked batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from lyapopt.checks import Arguments
from lyapopt.dynamics.randomness import generator
from lyapopt.errors import UserError
from lyapopt.probe import Probe
from lyapopt.search.probing.building import Build, Params
from lyapopt.search.probing.probes import Probed, ProbedStart, SteeringFailedError, probe_all
from lyapopt.search.probing.records import SteeringRecord
from lyapopt.search.steering.edge_cache import crossings, drawn_record, was_searched, window
from lyapopt.search.steering.growth import point_of
from lyapopt.search.steering.search_line import Axis, SearchLine
from lyapopt.search.steering.target import adaptive_target

_ENOUGH_EDGES = 5  # former trials, before their edges are a guess


@dataclass(frozen=True)
class SearchSettings:
    """How search lines are searched.

    Args:
        build: `params -> Training`.
        probe: The measurement.
        steer: Name of the steered parameter.
        target: Exponent to be met, nats per step; `None` learns it.
        rates_at_once: Rates of one search line that are probed together.
        rounds: Rounds of probes at most; one less near cached edges.
        stride: From a guess on, decades to the next rate as long as all are cold or all hot; `None`
            halves what is left of the range.
        reuse: Standard deviation, in decades, of rates that are drawn above the cached edge of a
            search line that shares it; `None` searches every line.
        seed: Study seed.
        where: Whose arguments these are, for messages.

    Raises:
        UserError: If a number is out of its range.
    """

    build: Build
    probe: Probe
    steer: str = "lr"
    target: float | None = None
    rates_at_once: int = 3
    rounds: int = 3
    stride: float | None = None
    reuse: float | None = None
    seed: int = 0
    where: str = "EdgeOfChaosSampler"

    def __post_init__(self) -> None:
        check = Arguments(self.where)
        check.whole("rates_at_once", self.rates_at_once, least=1)
        check.whole("rounds", self.rounds, least=1)
        check.optional(check.real, "reuse", self.reuse, least=0)


@dataclass
class Request:
    """A search line that is asked for: the parameters of a trial without the steered one.

    Attributes:
        params: The trial's other parameters.
        number: The trial's logical number.
        axis: The axis of the steered parameter.
        line_key: What search lines that share an edge have in common.
    """

    params: Params
    number: int
    axis: Axis
    line_key: str = ""


@dataclass(frozen=True)
class Steered:
    """What steering found for one trial.

    Attributes:
        value: The rate; NaN if nothing was measured.
        record: The probes and the choice; `None` if it failed before anything was measured.
        start: The first steps at that rate, where they were kept.
        error: Why it failed.
    """

    value: int | float
    record: SteeringRecord | None = None
    start: ProbedStart | None = None
    error: SteeringFailedError | None = None


def steer_lines(
    settings: SearchSettings,
    requests: Sequence[Request],
    history: Sequence[SteeringRecord] = (),
    former: Sequence[SteeringRecord] = (),
) -> list[Steered]:
    """Find the rate of every request at which the exponent meets its target.

    With `reuse` one search line of those that share an edge is searched, and the
    rates of the others are drawn above its edge.

    Args:
        settings: How search lines are searched.
        requests: The search lines.
        history: Records of finished trials, best first: where targets and first guesses come from.
        former: Records of all former trials that have an edge, in their order: for `reuse`, and
            without it where the search begins until `history` gives a guess.

    Returns:
        One result a request, in their order.
    """
    if settings.reuse is None:
        edge = _usual_edge(history)
        begin = (
            partial(_LineSearch.at, edge=edge) if edge else partial(_LineSearch.near, former=former)
        )
        return _search_all([begin(request, settings=settings) for request in requests], history)
    firsts = {request.line_key: place for place, request in reversed([*enumerate(requests)])}
    edges, found = list(former), dict[int, Steered]()
    for places in (firsts.values(), range(len(requests))):
        waiting = sorted(set(places) - set(found))
        drawn = [place for place in waiting if crossings(edges, requests[place].line_key)]
        found.update((place, _draw(requests[place], edges, settings)) for place in drawn)
        searched = [place for place in waiting if place not in found]
        searches = [_LineSearch.near(requests[place], edges, settings) for place in searched]
        results = _search_all(searches, history)
        found.update(zip(searched, results, strict=True))
        edges += [one.record for one in results if one.record and was_searched(one.record)]
    return [found[place] for place in range(len(requests))]


def _search_all(
    searches: Sequence[_LineSearch], history: Sequence[SteeringRecord]
) -> list[Steered]:
    """Search lines, each round of all of them in one batch."""
    while probes := [(search, value) for search in searches for value in search.next_values()]:
        settings = searches[0].settings
        jobs = [
            ({**search.request.params, settings.steer: value}, search.request.number)
            for search, value in probes
        ]
        probed = probe_all(settings.build, settings.probe, jobs, settings.seed)
        for (search, value), result in zip(probes, probed, strict=True):
            search.take(value, result, history)
    return [search.result() for search in searches]


def _usual_edge(history: Sequence[SteeringRecord]) -> float | None:
    """The median edge of former trials, in a study with one optimiser."""
    optimizers = {record.optimizer for record in history}
    edges = sorted(record.edge for record in history if record.edge is not None)
    is_known = len(optimizers) == 1 and len(edges) >= _ENOUGH_EDGES
    return edges[len(edges) // 2] if is_known else None


def _draw(request: Request, former: Sequence[SteeringRecord], settings: SearchSettings) -> Steered:
    """A rate above the cached edges of search lines that share them."""
    assert settings.reuse is not None
    known = crossings(former, request.line_key)
    record = drawn_record(known, request.axis, settings.reuse, settings.seed, request.number)
    return Steered(record.value, record)


@dataclass
class _LineSearch:
    """The search along one line, round by round.

    Args:
        request: The search line's parameters.
        settings: How it is searched.
        line: What is known of it.
        rounds: Rounds of probes that are left.
        probed_in: Round in which each rate was probed, 1 for the first.
    """

    request: Request
    settings: SearchSettings
    line: SearchLine
    rounds: int
    probed_in: dict[float, int] = field(default_factory=dict)
    optimizer: str = ""
    starts: dict[float, ProbedStart] = field(default_factory=dict)
    gradient_evaluations: float = 0.0
    examples: int = 0
    error: SteeringFailedError | None = None

    @classmethod
    def at(cls, request: Request, edge: float | None, settings: SearchSettings) -> _LineSearch:
        """A search that begins around a guess of the edge, if there is one."""
        guess = None if edge is None else request.axis.coordinate(edge)
        stride = settings.stride
        if guess is not None and stride is not None:
            line = SearchLine(request.axis, math.nan, guess, stride=stride * request.axis.decade)
        else:
            line = SearchLine(request.axis, math.nan, guess)
        return cls(request, settings, line, settings.rounds)

    @classmethod
    def near(
        cls, request: Request, former: Sequence[SteeringRecord], settings: SearchSettings
    ) -> _LineSearch:
        """A search near the cached edges, if there are any."""
        if not former:
            return cls.at(request, None, settings)
        expected = window(former, request.line_key, request.axis)
        line = SearchLine(request.axis, math.nan, window=expected)
        return cls(request, settings, line, max(1, settings.rounds - 1))

    def next_values(self) -> list[int | float]:
        """Rates to probe next, if any."""
        if self.error is not None or not self.rounds:
            return []
        self.rounds -= 1
        values = self.line.next_values(self.settings.rates_at_once)
        number = 1 + max(self.probed_in.values(), default=0)
        self.probed_in.update(dict.fromkeys(values, number))
        return values

    def take(self, value: float, probed: Probed, history: Sequence[SteeringRecord]) -> None:
        """Take in what the probe of a rate came to."""
        if probed.error is not None:
            self.error = self._failure(probed.error, probed.where, value)
            return
        assert probed.measurement is not None
        measurement = probed.measurement
        if not self.optimizer:
            self.optimizer = probed.optimizer
            self.line.target = self.settings.target or adaptive_target(
                history, self.optimizer, self.settings.seed, self.request.number
            )
        self.gradient_evaluations += measurement.gradient_evaluations
        self.examples += measurement.examples
        self.line.add([point_of(self.request.axis, value, measurement)])
        if probed.start is not None:
            self.starts[value] = probed.start
        self._forget_losers()

    def _forget_losers(self) -> None:
        """Drop the first steps at rates that cannot be chosen any more: they hold weights."""
        low, high = self.line.bracket()
        winner = self.line.winner().value
        for value in list(self.starts):
            if value != winner and not low <= self.line.axis.coordinate(value) <= high:
                del self.starts[value]

    def result(self) -> Steered:
        """The rate that was found, with a record of how."""
        line, request = self.line, self.request
        if not line.points:
            return Steered(math.nan, error=self.error)
        status, winner, edge = line.status, line.winner(), line.edge()
        value = self._any_rate() if status == "dead" else winner.value
        record = SteeringRecord(
            name=self.settings.steer,
            value=value,
            exponent=None if status == "dead" else winner.exponent,
            target=line.target,
            status=status,
            edge=None if edge is None else float(line.axis.value(edge)),
            optimizer=self.optimizer,
            gradient_evaluations=self.gradient_evaluations,
            examples=self.examples,
            probes=tuple((float(p.value), p.exponent, str(p.verdict)) for p in line.points),
            line=request.line_key,
            rounds=tuple(self.probed_in[p.value] for p in line.points),
        )
        return Steered(value, record, self.starts.get(value), self.error)

    def _any_rate(self) -> int | float:
        """A random rate of a dead line: there is nothing to steer by, and any is as good."""
        axis, settings = self.request.axis, self.settings
        source = generator(settings.seed, self.request.number, "dead line", settings.steer)
        share = float(source.initial_seed() % 2**32) / 2**32
        return axis.value(axis.low + share * (axis.high - axis.low))

    def _failure(
        self, error: Exception | SystemExit, where: str, value: float
    ) -> SteeringFailedError:
        steer, text = self.settings.steer, " ".join(str(error).split())
        if where == "build" and self.settings.where != SearchSettings.where:
            where = self.settings.where  # which has no build function
        message = f"{where} at {steer}={value:.4g} raised {type(error).__name__}: {text}"
        if isinstance(error, KeyError) and not isinstance(error, UserError):
            known = ", ".join(sorted(self.request.params)) or "nothing"
            message += (
                f" (suggested before {steer}: {known}; suggest {steer} last, or give the sampler "
                "the search space)"
            )
        failure = SteeringFailedError(message)
        failure.__cause__ = error
        return failure
