"""Probing many configurations in one stack, so that one that fails does so alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lyapopt.dynamics import AnyTrainingMap
from lyapopt.probe import Measurement, Probe, Reference, reference_of
from lyapopt.search.probing.building import Build, Params, build_training

_KEPT_BYTES = 256 * 2**20  # of weights, of all first steps of a stack


class SteeringFailedError(RuntimeError):
    """A configuration that could not be probed: its build function or its first steps raised."""


@dataclass(frozen=True)
class ProbedStart:
    """What was probed of a training before it was a trial's, so that it need not be repeated.

    Attributes:
        params: What it was built from: a trial goes on from it if these are its own.
        probe: How it was measured.
        initial: Weights that it started from, `(P,)`, in the precision of the probe.
        measurement: What was measured.
        steps: Its first steps, so that the trial may go on from there; `None` where the probe had
            a twin in another precision, whose steps the training has still to make in its own.
    """

    params: Params
    probe: Probe
    initial: Tensor
    measurement: Measurement
    steps: FirstSteps | None = None


@dataclass(frozen=True)
class FirstSteps:
    """The steps of a probe's reference.

    Attributes:
        final: State after the horizon, `(D,)`.
        weights: Weights before each step, `(horizon, P)`.
        losses: Losses at each step, `(horizon,)`.
    """

    final: Tensor
    weights: Tensor
    losses: Tensor


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
    references: dict[int, Reference] = {}
    for position, (params, number) in enumerate(jobs):
        try:
            training = build_training(build, params, seed, number)
            references[position] = reference_of(training, probe)
        except (Exception, SystemExit) as error:
            found[position] = Probed(error=error, where="build")
    refused, stacks = _stack_all(probe, references)
    found.update(refused)
    positions = [position for position in references if position not in refused]
    for rows, step, own_probe in stacks:
        measured = _measure(own_probe, step, [references[positions[row]].is_own for row in rows])
        for row, probed in zip(rows, measured, strict=True):
            start, params = probed.start, jobs[positions[row]][0]
            if start is not None:
                start = replace(start, params=params, probe=probe)
            found[positions[row]] = replace(probed, start=start)
    return [found[position] for position in range(len(jobs))]


Stacks = list[tuple[list[int], AnyTrainingMap, Probe]]
"""Positions of references, their map, and the probe that measures them."""


def _stack_all(
    probe: Probe, references: Mapping[int, Reference]
) -> tuple[dict[int, Probed], Stacks]:
    """References by position that cannot be read at all, and the stacks of the others."""
    try:
        return {}, probe.stacks(list(references.values()))
    except Exception:
        refused: dict[int, Probed] = {}
        for position, reference in references.items():
            try:
                probe.stacks([reference])
            except Exception as error:
                refused[position] = Probed(error=error, where="build")
        return refused, probe.stacks([r for i, r in references.items() if i not in refused])


def _measure(probe: Probe, step: AnyTrainingMap, are_own: Sequence[bool]) -> list[Probed]:
    """Measure a stack; if that raises, row by row."""
    try:
        return _measure_stack(probe, step, are_own)
    except Exception as error:
        if len(are_own) == 1:
            return [Probed(error=error, where="first steps")]
        return [
            probed
            for row, is_own in enumerate(are_own)
            for probed in _measure(probe, step.select([row]), [is_own])
        ]


def _measure_stack(probe: Probe, step: AnyTrainingMap, are_own: Sequence[bool]) -> list[Probed]:
    """Measure a stack, and keep its first steps where they are of use and small enough.

    Args:
        probe: The measurement.
        step: The map of the stack.
        are_own: Of each row, whether a trial may go on from its steps.
    """
    z0 = step.initial_state()
    seen: list[tuple[Tensor, Tensor]] = []
    size = probe.horizon * step.weights(z0).numel() * z0.element_size()
    is_kept = any(are_own) and size <= _KEPT_BYTES

    def observe(t: int, z: Tensor, losses: Tensor | None) -> None:
        assert losses is not None
        seen.append((step.weights(z[:, 0]).clone(), losses[:, 0]))

    run = probe.run(step, z0, observe if is_kept else None)
    names = [optimizer_name(training.optimizer) for training in step.trainings]
    probed = []
    for row, measurement in enumerate(probe.read(step, run)):
        steps = None
        if is_kept and are_own[row]:
            weights = torch.stack([w[row] for w, _ in seen])
            losses = torch.stack([loss[row] for _, loss in seen])
            steps = FirstSteps(run.exponent.final_state[row, 0], weights, losses)
        initial = step.weights(z0)[row, 0].clone()
        is_of_use = steps is not None or not are_own[row]
        start = ProbedStart({}, probe, initial, measurement, steps) if is_of_use else None
        probed.append(Probed(measurement, start, names[row]))
    return probed


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
