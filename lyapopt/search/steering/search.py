"""Steering many lines at once: every round of probes of all lines is one stacked batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lyapopt.dynamics.randomness import generator
from lyapopt.errors import UserError
from lyapopt.probe import Probe
from lyapopt.search.building import Build
from lyapopt.search.steering.axis import Axis
from lyapopt.search.steering.growth import is_wild, settled_exponent
from lyapopt.search.steering.line import Line, Point
from lyapopt.search.steering.probing import Probed, ProbedStart, probe_all
from lyapopt.search.steering.records import SteeringRecord
from lyapopt.search.steering.target import adaptive_target

_ENOUGH_EDGES = 5  # former trials, before their edges are a guess


class SteeringFailedError(RuntimeError):
    """A configuration that could not be probed: its build function or its first steps raised."""


@dataclass(frozen=True)
class SearchSettings:
    """How lines are searched.

    Args:
        build: `params -> Training`.
        probe: The measurement.
        steer: Name of the steered parameter.
        target: Exponent to be met, nats per step; `None` learns it.
        rates_at_once: Rates of a line that are probed together.
        rounds: Rounds of probes at most.
        seed: Study seed.
    """

    build: Build
    probe: Probe
    steer: str = "lr"
    target: float | None = None
    rates_at_once: int = 3
    rounds: int = 3
    seed: int = 0


@dataclass
class Request:
    """One line: the parameters of a trial without the steered one.

    Attributes:
        params: Of the trial.
        number: Its logical number.
        axis: Of the steered parameter.
    """

    params: Mapping[str, Any]
    number: int
    axis: Axis


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
    line: Line
    kind: str = ""
    starts: dict[float, ProbedStart] = field(default_factory=dict)
    gradient_evaluations: float = 0.0
    examples: int = 0
    error: SteeringFailedError | None = None


def steer_lines(
    settings: SearchSettings,
    requests: Sequence[Request],
    history: Sequence[SteeringRecord] = (),
) -> list[Steered]:
    """Find the rate of every request at which the exponent meets its target.

    Args:
        settings: How.
        requests: The lines.
        history: Records of finished trials, best first: where targets and first guesses come from.

    Returns:
        One result a request, in their order.
    """
    edge = _usual_edge(history)
    searches = [_begin(request, edge) for request in requests]
    for _ in range(settings.rounds):
        wanted = [
            (search, value)
            for search in searches
            if search.error is None
            for value in search.line.next_values(settings.rates_at_once)
        ]
        if not wanted:
            break
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


def _begin(request: Request, edge: float | None) -> _Search:
    guess = None if edge is None else request.axis.coordinate(edge)
    return _Search(request, Line(request.axis, math.nan, guess))


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
    if not search.kind:
        search.kind = probed.optimizer
        number = search.request.number
        search.line.target = settings.target or adaptive_target(
            history, search.kind, settings.seed, number
        )
    measurement = probed.measurement
    search.gradient_evaluations += measurement.gradient_evaluations
    search.examples += measurement.examples
    coordinate = search.request.axis.coordinate(value)
    exponent = settled_exponent(measurement)
    point = Point(value, coordinate, exponent, measurement.verdict, is_wild(measurement))
    search.line.add([point])
    if probed.start is not None:
        search.starts[value] = probed.start
    for known in [v for v in search.starts if v != search.line.winner().value]:
        if not _may_win(search.line, known):
            del search.starts[known]


def _may_win(line: Line, value: float) -> bool:
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
        optimizer=search.kind,
        gradient_evaluations=search.gradient_evaluations,
        examples=search.examples,
        probes=tuple((float(p.value), p.exponent, str(p.verdict)) for p in line.points),
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
