"""Steering many lines at once: every round of probes of all lines is one stacked batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lyapopt.dynamics.randomness import generator
from lyapopt.errors import UserError
from lyapopt.probe import Probe
from lyapopt.search.probing.building import Build
from lyapopt.search.probing.probes import Probed, ProbedStart, SteeringFailedError, probe_all
from lyapopt.search.probing.records import SteeringRecord
from lyapopt.search.steering.edge_cache import crossings, drawn_record, was_searched, window
from lyapopt.search.steering.growth import has_blown_up, settled_exponent
from lyapopt.search.steering.search_line import Axis, Point, SearchLine
from lyapopt.search.steering.target import adaptive_target

_ENOUGH_EDGES = 5  # former trials, before their edges are a guess


@dataclass(frozen=True)
class SearchSettings:
    """How lines are searched.

    Args:
        build: `params -> Training`.
        probe: The measurement.
        steer: Name of the steered parameter.
        target: Exponent to be met, nats per step; `None` learns it.
        rates_at_once: Rates of a line that are probed together.
        rounds: Rounds of probes at most; one less near the edges of other lines.
        reuse: Spread of rates around the edges of lines that differ in their seeds alone, in
            decades; `None` searches every line.
        seed: Study seed.

    Raises:
        UserError: If a number is out of its range.
    """

    build: Build
    probe: Probe
    steer: str = "lr"
    target: float | None = None
    rates_at_once: int = 3
    rounds: int = 3
    reuse: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rates_at_once", "rounds"):
            count = getattr(self, name)
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise UserError(f"EdgeOfChaosSampler: {name} must be at least 1, not {count!r}")
        if self.reuse is not None and not _is_spread(self.reuse):
            raise UserError(
                "EdgeOfChaosSampler: reuse must be None or decades of at least 0, such as 0.25, "
                f"not {self.reuse!r}"
            )


def _is_spread(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < math.inf


@dataclass
class Request:
    """One line: the parameters of a trial without the steered one.

    Attributes:
        params: Of the trial.
        number: Its logical number.
        axis: Of the steered parameter.
        line_key: What it has in common with search lines that differ in their seeds alone.
    """

    params: Mapping[str, Any]
    number: int
    axis: Axis
    line_key: str = ""


@dataclass(frozen=True)
class Steered:
    """What steering found for one trial.

    Attributes:
        value: The rate.
        record: How it was found; `None` if it failed before anything was measured.
        start: The first steps at that rate, where they were kept.
        error: Why it failed.
    """

    value: int | float
    record: SteeringRecord | None = None
    start: ProbedStart | None = None
    error: SteeringFailedError | None = None


@dataclass
class _Search:
    request: Request
    line: SearchLine
    rounds: int
    optimizer: str = ""
    starts: dict[float, ProbedStart] = field(default_factory=dict)
    gradient_evaluations: float = 0.0
    examples: int = 0
    error: SteeringFailedError | None = None

    def next_values(self, settings: SearchSettings) -> list[int | float]:
        """Rates to probe next, if any."""
        if self.error is not None or not self.rounds:
            return []
        self.rounds -= 1
        return self.line.next_values(settings.rates_at_once)


def steer_lines(
    settings: SearchSettings,
    requests: Sequence[Request],
    history: Sequence[SteeringRecord] = (),
    former: Sequence[SteeringRecord] = (),
) -> list[Steered]:
    """Find the rate of every request at which the exponent meets its target.

    With `reuse` one line of those that differ in their seeds alone is searched, and the rates of
    the others are drawn around its edge.

    Args:
        settings: How.
        requests: The lines.
        history: Records of finished trials, best first: where targets and first guesses come from.
        former: Records of all former trials that have an edge, in their order, for `reuse`.

    Returns:
        One result a request, in their order.
    """
    if settings.reuse is None:
        edge = _usual_edge(history)
        return _search_all(settings, [_begin(r, edge, settings) for r in requests], history)
    firsts = {request.line_key: place for place, request in reversed([*enumerate(requests)])}
    edges, found = list(former), dict[int, Steered]()
    for places in (firsts.values(), range(len(requests))):
        waiting = sorted(set(places) - set(found))
        drawn = [place for place in waiting if crossings(edges, requests[place].line_key)]
        found.update((place, _draw(requests[place], edges, settings)) for place in drawn)
        searched = [place for place in waiting if place not in found]
        searches = [_begin_near(requests[place], edges, settings) for place in searched]
        results = _search_all(settings, searches, history)
        found.update(zip(searched, results, strict=True))
        edges += [one.record for one in results if one.record and was_searched(one.record)]
    return [found[place] for place in range(len(requests))]


def _search_all(
    settings: SearchSettings, searches: Sequence[_Search], history: Sequence[SteeringRecord]
) -> list[Steered]:
    """Search lines, each round of all of them in one batch."""
    while wanted := [(s, value) for s in searches for value in s.next_values(settings)]:
        jobs = [
            ({**search.request.params, settings.steer: value}, search.request.number)
            for search, value in wanted
        ]
        probed = probe_all(settings.build, settings.probe, jobs, settings.seed)
        for (search, value), result in zip(wanted, probed, strict=True):
            _take(search, value, result, settings, history)
    return [_result(search, settings) for search in searches]


def _usual_edge(history: Sequence[SteeringRecord]) -> float | None:
    """Where former trials had their edges, in a study with one kind of optimiser."""
    kinds = {record.optimizer for record in history}
    edges = sorted(record.edge for record in history if record.edge is not None)
    return edges[len(edges) // 2] if len(kinds) == 1 and len(edges) >= _ENOUGH_EDGES else None


def _begin(request: Request, edge: float | None, settings: SearchSettings) -> _Search:
    guess = None if edge is None else request.axis.coordinate(edge)
    return _Search(request, SearchLine(request.axis, math.nan, guess), settings.rounds)


def _begin_near(
    request: Request, former: Sequence[SteeringRecord], settings: SearchSettings
) -> _Search:
    """A search near the edges of other lines, if there are any."""
    if not former:
        return _begin(request, None, settings)
    line = SearchLine(request.axis, math.nan, window=window(former, request.line_key, request.axis))
    return _Search(request, line, max(1, settings.rounds - 1))


def _draw(request: Request, former: Sequence[SteeringRecord], settings: SearchSettings) -> Steered:
    """A rate around the edges of lines that are alike."""
    assert settings.reuse is not None
    known = crossings(former, request.line_key)
    record = drawn_record(known, request.axis, settings.reuse, settings.seed, request.number)
    return Steered(record.value, record)


def _take(
    search: _Search,
    value: float,
    probed: Probed,
    settings: SearchSettings,
    history: Sequence[SteeringRecord],
) -> None:
    if probed.error is not None:
        search.error = _failure(probed.error, probed.where, settings, search.request, value)
        return
    assert probed.measurement is not None
    if not search.optimizer:
        search.optimizer = probed.optimizer
        number = search.request.number
        search.line.target = settings.target or adaptive_target(
            history, search.optimizer, settings.seed, number
        )
    measurement = probed.measurement
    search.gradient_evaluations += measurement.gradient_evaluations
    search.examples += measurement.examples
    coordinate = search.request.axis.coordinate(value)
    exponent = settled_exponent(measurement)
    point = Point(value, coordinate, exponent, measurement.verdict, has_blown_up(measurement))
    search.line.add([point])
    if probed.start is not None:
        search.starts[value] = probed.start
    for known in [v for v in search.starts if v != search.line.winner().value]:
        if not _may_win(search.line, known):
            del search.starts[known]


def _may_win(line: SearchLine, value: float) -> bool:
    low, high = line.bracket()
    return low <= line.axis.coordinate(value) <= high


def _result(search: _Search, settings: SearchSettings) -> Steered:
    line, request = search.line, search.request
    if not line.points:
        return Steered(math.nan, error=search.error)
    status, winner = line.status, line.winner()
    value = winner.value
    if status == "dead":
        # Nothing to steer by: any rate is as good.
        source = generator(settings.seed, request.number, "dead line", settings.steer)
        share = float(source.initial_seed() % 2**32) / 2**32
        value = request.axis.value(line.axis.low + share * (line.axis.high - line.axis.low))
    edge = line.edge()
    record = SteeringRecord(
        name=settings.steer,
        value=value,
        exponent=None if status == "dead" else winner.exponent,
        target=line.target,
        status=status,
        edge=None if edge is None else float(line.axis.value(edge)),
        optimizer=search.optimizer,
        gradient_evaluations=search.gradient_evaluations,
        examples=search.examples,
        probes=tuple((float(p.value), p.exponent, str(p.verdict)) for p in line.points),
        line=request.line_key,
    )
    return Steered(value, record, search.starts.get(value), search.error)


def _failure(
    error: Exception | SystemExit,
    where: str,
    settings: SearchSettings,
    request: Request,
    value: float,
) -> SteeringFailedError:
    text = " ".join(str(error).split())
    message = f"{where} at {settings.steer}={value:.4g} raised {type(error).__name__}: {text}"
    if isinstance(error, KeyError) and not isinstance(error, UserError):
        known = ", ".join(sorted(request.params)) or "nothing"
        message += (
            f" (suggested before {settings.steer}: {known}; suggest {settings.steer} last, or give "
            "the sampler the search space)"
        )
    failure = SteeringFailedError(message)
    failure.__cause__ = error
    return failure
