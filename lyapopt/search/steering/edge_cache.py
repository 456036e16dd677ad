"""Cached edges: where search lines that differ in seeds and continuous parameters have theirs, too.

The rate at which perturbations begin to grow depends on the network, the optimiser and the data,
and little on the seed; a continuous parameter, such as a weight decay, has another value in every
trial, whose edges would never be those of another. A search line whose edge is cached needs no
probes; one of another network is searched near the edges of the others.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import optuna
import torch
from optuna.distributions import BaseDistribution, FloatDistribution

from lyapopt.dynamics.randomness import generator
from lyapopt.search.probing.building import Params
from lyapopt.search.probing.records import DRAWN, FALLBACK, SteeringRecord
from lyapopt.search.steering.search_line import Axis

_WINDOW = 2.0  # decades on either side of cached edges


class CachedEdges:
    """Records of the steered trials of studies, whatever became of them, in their order.

    A record does not change once it is written, so that each is read once.
    """

    def __init__(self) -> None:
        self._known: dict[str, dict[int, SteeringRecord]] = {}

    def of(self, study: optuna.Study) -> list[SteeringRecord]:
        """The records of trials whose rates were found by probes."""
        known = self._known.setdefault(study.study_name, {})
        found = []
        for trial in study.get_trials(deepcopy=False):
            record = known.get(trial.number) or SteeringRecord.of_trial(trial)
            if record is not None:
                known[trial.number] = record
                found.append(record)
        return [record for record in found if was_searched(record)]


def was_searched(record: SteeringRecord) -> bool:
    """Whether a rate was found by probes, so that other lines are searched near it."""
    return record.status not in ("dead", DRAWN, FALLBACK)


def params_key(params: Params) -> str:
    """Parameters as a key of the answers that are waiting for a trial to ask."""
    return repr(sorted((name, repr(value)) for name, value in params.items()))


def line_key(params: Params, others: Iterable[str]) -> str:
    """What search lines have in common that share an edge.

    Args:
        params: The parameters of a trial, without the steered one.
        others: Names of those among them in which such lines may differ: seeds, and continuous
            ones.

    Example:
        >>> one = line_key({"init_seed": 3, "activation": "relu"}, ["init_seed"])
        >>> one == line_key({"init_seed": 4, "activation": "relu"}, ["init_seed"])
        True
        >>> one == line_key({"init_seed": 3, "activation": "tanh"}, ["init_seed"])
        False
    """
    return params_key({name: params[name] for name in set(params) - set(others)})


def continuous(distributions: Mapping[str, BaseDistribution]) -> list[str]:
    """Names of the parameters that have another value in every trial."""
    return [
        name
        for name, found in distributions.items()
        if isinstance(found, FloatDistribution) and not found.step
    ]


def crossings(records: Sequence[SteeringRecord], line: str) -> list[SteeringRecord]:
    """The records of search lines with a key on which the target was met."""
    return [record for record in records if record.line == line and record.status == "crossed"]


def drawn_record(
    former: Sequence[SteeringRecord], axis: Axis, spread: float, seed: int, number: int
) -> SteeringRecord:
    """A rate drawn above cached edges, without probes.

    It is normally distributed on the axis, around one standard deviation above the edges. Where
    perturbations begin to grow is the lower end of the rates that train well: many networks train
    best a decade above, and ranking drops those that do not.

    Args:
        former: Records of search lines that share an edge, at least one.
        axis: The axis of the steered parameter.
        spread: Standard deviation in decades; on an axis without logarithm a decade is a quarter
            of its range.
        seed: Study seed.
        number: Logical number of the trial.
    """
    latest = former[-1]
    source = generator(seed, number, "drawn rate", latest.name)
    noise = float(torch.randn((), generator=source, dtype=torch.float64))
    coordinate = _centre(former, axis) + spread * (1 + noise) * axis.decade
    return SteeringRecord(
        name=latest.name,
        value=axis.value(min(max(coordinate, axis.low), axis.high)),
        exponent=None,
        target=latest.target,
        status=DRAWN,
        edge=None,
        optimizer=latest.optimizer,
        gradient_evaluations=0.0,
        examples=0,
        probes=(),
        line=latest.line,
    )


def window(former: Sequence[SteeringRecord], line: str, axis: Axis) -> tuple[float, float]:
    """Coordinates between which an edge is expected: around those of former lines.

    Args:
        former: Records of any search lines, at least one.
        line: The line's own key; where others with this key were searched without a crossing, the
            search goes on from where they ended.
        axis: The axis of the steered parameter.
    """
    own = [record for record in former if record.line == line]
    middle, half = _centre(own[-1:] or former, axis), _WINDOW * axis.decade
    return max(axis.low, middle - half), min(axis.high, middle + half)


def _centre(former: Sequence[SteeringRecord], axis: Axis) -> float:
    return statistics.median(axis.coordinate(record.value) for record in former)
