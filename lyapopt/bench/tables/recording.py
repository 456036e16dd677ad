"""Recording a case: every configuration is trained to the end and measured in every way."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lyapopt.bench import Numbers, Progress, silent
from lyapopt.bench.range_test import STEPS as RANGE_STEPS
from lyapopt.bench.range_test import rising_losses
from lyapopt.bench.tables.cases import Case, build_cell, spaced, twin
from lyapopt.bench.tables.curvature import Gradients
from lyapopt.bench.tables.fingerprint import RADIUS, fingerprint
from lyapopt.bench.tables.table import HORIZONS, Facts, Table
from lyapopt.dynamics import AnyTrainingMap, Training, stack
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.errors import UserError
from lyapopt.exponents import Exponent, from_neighbours, spectrum
from lyapopt.probe.run import ProbeRun
from lyapopt.probe.verdicts import tail_length
from lyapopt.search.probing.probes import optimizer_name

FEW, MANY, MANY_HORIZON = 2, 16, 20
GRADIENT_STEPS = (0, 10, 20)  # before which gradients and curvature are taken
_STACK_NUMBERS = 4_000_000  # of one stacked state: larger ones leave the cache

_Arrays = dict[str, NDArray[np.generic]]


def record(case: Case, progress: Progress = silent) -> Table:
    """Train and measure every configuration of a case.

    Raises:
        UserError: If a configuration cannot be built or trained, a training says not for how many
            steps, or for fewer than the horizon, or no training is better than none.
    """
    begun = time.perf_counter()
    trainings = [build_cell(case, params) for params in case.cells]
    steps = _steps_of(trainings)
    parts: dict[int, dict[str, Any]] = {}
    probe_map = stack(trainings[:1])[0][1]
    checkpoints = checkpoints_of(steps, probe_map.steps_per_epoch)
    size = probe_map.weights(probe_map.initial_state()).numel()
    for rows in _chunks(trainings, size):
        chosen = [trainings[row] for row in rows]
        for positions, step in stack(chosen, compile="off"):
            _keep(parts, [rows[i] for i in positions], _train(step, steps, checkpoints))
        for positions, step in stack(map(twin, chosen), compile="off"):
            _keep(parts, [rows[i] for i in positions], _measure(step))
        progress(f"{case.name}: {len(parts)} of {len(trainings)} trained")
    arrays = {name: np.stack([parts[i][name] for i in range(len(parts))]) for name in parts[0]}
    rates = np.array(spaced(case.rates[0], case.rates[-1], RANGE_STEPS))
    arrays["range_losses"] = rising_losses(
        trainings[:: len(case.rates)], (rates / rates[0]).tolist(), compile="off"
    )
    facts = Facts(
        steps=steps,
        steps_per_epoch=probe_map.steps_per_epoch,
        batch_size=probe_map.batch_size,
        validation_examples=probe_map.evaluate(probe_map.initial_state()).examples,
        weights=size,
        optimizer=optimizer_name(trainings[0].optimizer),
        radius=RADIUS,
        fingerprint=fingerprint(case),
        seconds=time.perf_counter() - begun,
    )
    table = Table(case, facts, checkpoints=checkpoints, range_rates=rates, **arrays)
    _refuse_without_progress(table)
    return table


def checkpoints_of(steps: int, steps_per_epoch: int) -> NDArray[np.int64]:
    """After 5, 10, 20, 40, 80 steps, one and two epochs, and then evenly up to the end.

    Example:
        >>> checkpoints_of(400, 22).tolist()
        [5, 10, 20, 22, 40, 44, 50, 80, 100, 150, 200, 250, 300, 350, 400]
    """
    early = {5, 10, 20, 40, 80, steps_per_epoch, 2 * steps_per_epoch}
    even = {round(steps * k / 8) for k in range(1, 9)}
    return np.array(sorted(step for step in early | even if step <= steps), dtype=np.int64)


def _steps_of(trainings: Sequence[Training]) -> int:
    steps = {training.steps for training in trainings}
    if None in steps:
        raise UserError("bench: a Training says no number of steps; write Training(..., steps=400)")
    if len(steps) > 1:
        raise UserError(
            "bench: every Training must have the same number of steps, not "
            + ", ".join(str(count) for count in sorted(steps, key=lambda count: count or 0))
        )
    [count] = steps
    assert count is not None
    if count <= max(HORIZONS):
        raise UserError(f"bench: {count} steps are too few; more than {max(HORIZONS)} are needed")
    return count


def _refuse_without_progress(table: Table) -> None:
    """Where no training is better than none there is nothing to search for."""
    untrained, best = table.untrained, float(table.final.min())
    if not math.isfinite(untrained):
        raise UserError(
            f"{table.case.task}: the validation loss of untrained networks is not finite"
        )
    if not best < untrained:
        raise UserError(
            f"{table.case.task}: no configuration ends below the validation loss of an untrained "
            f"network, {untrained:.6g}: there is nothing to search for; check loss and rates"
        )


def _chunks(trainings: Sequence[Training], size: int) -> list[list[int]]:
    """Trainings in parts whose stacks, neighbours included, are not too large."""
    count = max(1, _STACK_NUMBERS // (size * (1 + MANY)))
    rows = range(len(trainings))
    return [list(rows[i : i + count]) for i in range(0, len(trainings), count)]


def _keep(parts: dict[int, dict[str, Any]], rows: Sequence[int], found: _Arrays) -> None:
    """Put what was found of some configurations beside what is known of each."""
    for place, row in enumerate(rows):
        parts.setdefault(row, {}).update({name: a[place] for name, a in found.items()})


def _measure(step: AnyTrainingMap) -> _Arrays:
    """Separations, by neighbours and tangents."""
    z0 = step.initial_state()
    found = _few_neighbours(step, z0)
    many = _neighbours(step, z0, MANY_HORIZON, MANY)
    found["many"] = _rows_first(many.log_separations)
    tangents = spectrum(step, z0, MANY_HORIZON, k=1, seed=0).weight_increments.double()
    found["tangent"] = np.concatenate(
        [np.zeros((len(z0), 1)), tangents.cumsum(0).T.cpu().numpy()], 1
    )
    return found


def _train(step: AnyTrainingMap, steps: int, checkpoints: NDArray[np.int64]) -> _Arrays:
    """Losses of full trainings, evaluations, and gradients on the way."""
    z0 = step.initial_state()
    gradients = Gradients(step.trainings)
    losses = np.full((len(z0), steps), np.nan)
    validation = np.full((len(z0), len(checkpoints)), np.nan)
    norms, sharpness = [], []
    initial = _evaluated(step, z0)
    z, place = z0, 0
    for t in range(steps):
        if t in GRADIENT_STEPS:
            norm, sharp = gradients.norm_and_sharpness(step.weights(z[:, 0]), t)
            norms.append(norm.cpu().numpy())
            sharpness.append(sharp.cpu().numpy())
        z, loss = step.step_with_losses(z, t)
        losses[:, t] = loss[:, 0].cpu().numpy()
        if t + 1 == checkpoints[place]:
            validation[:, place] = _evaluated(step, z)
            place += 1
    return {
        "losses": losses,
        "validation": validation,
        "initial": initial,
        "gradient_norms": np.stack(norms, 1),
        "sharpness": np.stack(sharpness, 1),
    }


def _evaluated(step: AnyTrainingMap, z: Tensor) -> Numbers:
    """Validation losses, NaN where the state is not finite."""
    alive = torch.isfinite(z).all(-1)[:, 0].nonzero()[:, 0].tolist()
    values = np.full(len(z), np.nan)
    if alive:
        values[alive] = step.evaluate(z, alive).losses
    return np.where(np.isfinite(values), values, np.nan)


def _neighbours(
    step: AnyTrainingMap,
    z0: Tensor,
    horizon: int,
    neighbours: int,
    observe: Callable[[int, Tensor, Tensor | None], None] | None = None,
) -> Exponent:
    """As `Probe` measures them."""
    return from_neighbours(
        step,
        z0,
        horizon,
        neighbours=neighbours,
        radius=RADIUS,
        seed=[derive_seed(training.seed, "perturbation") for training in step.trainings],
        observe=observe,
    )


def _few_neighbours(step: AnyTrainingMap, z0: Tensor) -> _Arrays:
    """Two neighbours over the longest horizon: separations in weights and in outputs, and whether
    anything moves at the shorter horizons.
    """
    longest = max(HORIZONS)
    kept: dict[int, Tensor] = {}
    finite: dict[int, Tensor] = {}
    away: list[Tensor] = []
    needed = set(HORIZONS) | {h - tail_length(h) for h in HORIZONS}

    def observe(t: int, z: Tensor, losses: Tensor | None) -> None:
        if t in needed:
            kept[t] = step.weights(z[:, 0]).clone()
            finite[t] = torch.isfinite(z).all(-1)[:, 0]
        away.append(_output_distances(step, z))

    run = _neighbours(step, z0, longest, FEW, observe)
    kept[longest] = step.weights(run.final_state[:, 0])
    finite[longest] = torch.isfinite(run.final_state).all(-1)[:, 0]
    still = []
    for h in HORIZONS:
        assert run.losses is not None
        part = dataclasses.replace(
            run, log_separations=run.log_separations[: h + 1], losses=run.losses[:h], horizon=h
        )
        still.append(ProbeRun(part, kept[h - tail_length(h)], kept[h]).stands_still(RADIUS))
    return {
        "separations": _rows_first(run.log_separations),
        "outputs": _outputs_as_if_never_rescaled(run, away),
        "is_still": np.array(still).T,
        "is_finite": torch.stack([finite[h] for h in HORIZONS], 1).cpu().numpy(),
    }


def _output_distances(step: AnyTrainingMap, z: Tensor) -> Tensor:
    with torch.no_grad():
        outputs = step.outputs(z)
    distances: Tensor = torch.linalg.vector_norm(outputs[:, 1:] - outputs[:, :1], dim=-1)
    return distances


def _outputs_as_if_never_rescaled(run: Exponent, away: Sequence[Tensor]) -> Numbers:
    """Log separations in outputs, `(M, steps, K)`.

    They are seen after each rescaling, and scale with the separations in the weights.
    """
    rescaled = run.log_separations[: len(away)] - math.log(RADIUS)
    found = torch.stack(list(away)).double().log() + rescaled
    return _rows_first(found)


def _rows_first(series: Tensor) -> Numbers:
    return series.double().movedim(1, 0).cpu().numpy()
