"""Probing many configurations in one stack, so that one that fails does so alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lyapopt.dynamics import AnyTrainingMap, Training, stack
from lyapopt.probe import Measurement, Probe
from lyapopt.search.probing.building import Build, Params, build_training

_KEPT_BYTES = 256 * 2**20  # of weights, of all first steps of a stack


class SteeringFailedError(RuntimeError):
    """A configuration that could not be probed: its build function or its first steps raised."""


@dataclass(frozen=True)
class ProbedStart:
    """The first steps of a training, so that a trial may go on from there.

    Attributes:
        probe: How it was measured.
        initial: State that it started from, `(D,)`.
        final: State after the horizon, `(D,)`.
        weights: Weights before each step, `(horizon, P)`.
        losses: Losses at each step, `(horizon,)`.
        measurement: What was measured.
    """

    probe: Probe
    initial: Tensor
    final: Tensor
    weights: Tensor
    losses: Tensor
    measurement: Measurement


@dataclass(frozen=True)
class Probed:
    """What came of one configuration.

    Attributes:
        measurement: What was measured, or `None` if it raised.
        start: Its first steps, where they are small enough to be kept.
        optimizer: Name of its optimiser (see `optimizer_name`).
        error: What it raised.
        where: `build` or `first steps`.
    """

    measurement: Measurement | None = None
    start: ProbedStart | None = None
    optimizer: str = ""
    error: Exception | SystemExit | None = None
    where: str = ""


@runtime_checkable
class AnswersParams(Protocol):
    """A probe that knows the answers, as one that replays recorded trainings does."""

    def probe_params(self, params: Sequence[Params]) -> list[Probed]:
        """What is known of configurations, in their order."""


def probe_all(
    build: Build,
    probe: Probe,
    jobs: Sequence[tuple[Params, int]],
    seed: int,
) -> list[Probed]:
    """Build and measure many configurations, those of equal structure in one stack.

    Args:
        build: `params -> Training`.
        probe: The measurement.
        jobs: Parameters and trial number of each.
        seed: Study seed.

    Returns:
        One result a job, in their order.
    """
    if isinstance(probe, AnswersParams):
        return probe.probe_params([params for params, _ in jobs])
    found: dict[int, Probed] = {}
    trainings: dict[int, Training] = {}
    for position, (params, number) in enumerate(jobs):
        try:
            trainings[position] = build_training(build, params, seed, number)
        except (Exception, SystemExit) as error:
            found[position] = Probed(error=error, where="build")
    refused, stacks = _stack_all(trainings)
    found.update(refused)
    positions = [position for position in trainings if position not in refused]
    for rows, step in stacks:
        measured = _measure(probe, step)
        found.update((positions[row], probed) for row, probed in zip(rows, measured, strict=True))
    return [found[position] for position in range(len(jobs))]


def _stack_all(
    trainings: Mapping[int, Training],
) -> tuple[dict[int, Probed], list[tuple[list[int], AnyTrainingMap]]]:
    """Trainings by position that cannot be read at all, and the stacks of the others."""
    try:
        return {}, stack(trainings.values())
    except Exception:
        refused: dict[int, Probed] = {}
        for position, training in trainings.items():
            try:
                stack([training])
            except Exception as error:
                refused[position] = Probed(error=error, where="build")
        return refused, stack(t for position, t in trainings.items() if position not in refused)


def _measure(probe: Probe, step: AnyTrainingMap) -> list[Probed]:
    """Measure a stack; if that raises, row by row."""
    try:
        return _measure_stack(probe, step)
    except Exception as error:
        if len(step.trainings) == 1:
            return [Probed(error=error, where="first steps")]
        rows = range(len(step.trainings))
        return [probed for row in rows for probed in _measure(probe, step.select([row]))]


def _measure_stack(probe: Probe, step: AnyTrainingMap) -> list[Probed]:
    """Measure a stack, and keep its first steps where they are small enough."""
    z0 = step.initial_state()
    seen: list[tuple[Tensor, Tensor]] = []
    is_kept = probe.horizon * step.weights(z0).numel() * z0.element_size() <= _KEPT_BYTES

    def observe(t: int, z: Tensor, losses: Tensor | None) -> None:
        assert losses is not None
        seen.append((step.weights(z[:, 0]).clone(), losses[:, 0]))

    run = probe.run(step, z0, observe if is_kept else None)
    measurements = probe.read(step, run)
    names = [optimizer_name(training.optimizer) for training in step.trainings]
    if not is_kept:
        return [Probed(m, None, name) for m, name in zip(measurements, names, strict=True)]
    weights = torch.stack([w for w, _ in seen], 1)
    losses = torch.stack([loss for _, loss in seen], 1)
    final = run.exponent.final_state
    starts = [
        ProbedStart(probe, z0[row, 0], final[row, 0], weights[row], losses[row], m)
        for row, m in enumerate(measurements)
    ]
    return [Probed(s.measurement, s, name) for s, name in zip(starts, names, strict=True)]


def optimizer_name(optimizer: torch.optim.Optimizer) -> str:
    """The name of the optimiser's class; `momentum` for SGD with momentum, whose targets differ.

    Example:
        >>> weight = torch.zeros(1, requires_grad=True)
        >>> optimizer_name(torch.optim.SGD([weight], lr=0.1, momentum=0.9))
        'momentum'
    """
    if any(group.get("momentum", 0) for group in optimizer.param_groups):
        return "momentum"
    return type(optimizer).__name__
