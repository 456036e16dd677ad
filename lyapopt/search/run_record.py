"""A finished candidate as the record that the store keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from lyapopt.probe import Measurement, Probe
from lyapopt.search.candidate import Candidate
from lyapopt.search.probing.records import ScreeningRecord, SteeringRecord
from lyapopt.settings import RecordSettings
from lyapopt.store import ExponentRecord, RunRecord, TrajectoryRecord


def run_record(
    candidate: Candidate, probe: Probe | None, record: RecordSettings | None, seed: int
) -> RunRecord:
    """Everything that is stored of a candidate.

    Args:
        candidate: A candidate with its recorder and its probes. Without an outcome it is running:
            how it ended will then be read from its trial.
        probe: How it was measured, if it was.
        record: What was kept of it, if anything was.
        seed: Study seed.
    """
    outcome = candidate.outcome
    value = None if outcome is None else outcome.value
    return RunRecord(
        run=candidate.run,
        study_name=candidate.trial.study.study_name,
        trial_number=candidate.trial.number,
        logical_number=candidate.number,
        state="running" if outcome is None else outcome.state,
        values=(value,) if isinstance(value, float) else value,
        verdict=None if candidate.verdict is None else str(candidate.verdict),
        reason=candidate.reason if outcome is None else outcome.reason,
        steps=candidate.steps,
        gradient_evaluations=candidate.gradient_evaluations,
        examples=candidate.examples,
        seed=seed,
        started_at=candidate.started_at,
        finished_at=datetime.now(UTC),
        versions=_versions(),
        settings={
            "probe": None if probe is None else asdict(probe),
            "record": None if record is None else asdict(record),
        },
        exponents=() if probe is None else _exponents(candidate, probe),
        trajectories=() if record is None else tuple(_trajectories(candidate, record)),
        decisions=tuple(candidate.decisions),
    )


def _exponents(candidate: Candidate, probe: Probe) -> tuple[ExponentRecord, ...]:
    """The trial's own exponent first, then those of all that was probed for it."""
    own, steering, screening = candidate.measurement, candidate.steering, candidate.screening
    return (
        *(() if own is None or own.is_of_losses else (_exponent(own, probe),)),
        *(() if steering is None else _steering(steering, candidate.steering_probe or probe)),
        *(() if screening is None else _screening(screening, probe)),
    )


def _exponent(measurement: Measurement, probe: Probe) -> ExponentRecord:
    details: dict[str, float | int | str] = {
        "verdict": str(measurement.verdict),
        "dtype": measurement.dtype,
    }
    for flag in measurement.flags:
        details[flag.name] = flag.detail
        if flag.step is not None:
            details[f"{flag.name} at step"] = flag.step
    return _record_by(probe, measurement.estimator)(
        name=f"{measurement.estimator}@{probe.horizon}",
        value=measurement.exponent,
        low=measurement.low,
        high=measurement.high,
        level=measurement.level,
        estimand=measurement.estimand,
        flags=tuple(flag.name for flag in measurement.flags),
        details=details,
    )


def _record_by(probe: Probe, estimator: str | None = None) -> Callable[..., ExponentRecord]:
    """A record of an exponent, with how it was measured.

    Args:
        probe: The measurement.
        estimator: Which it was; of probes whose measurements are not kept, what the settings say.
    """
    asked = "neighbours" if probe.estimator == "auto" else probe.estimator
    return partial(
        ExponentRecord,
        horizon=probe.horizon,
        neighbours=probe.neighbours,
        radius=probe.radius,
        segment=probe.segment,
        distance=probe.distance,
        estimator=estimator or asked,
    )


def _steering(steering: SteeringRecord, probe: Probe) -> Iterator[ExponentRecord]:
    """What was measured at every rate that was probed for the trial."""
    record = _record_by(probe)
    rounds = dict(zip((value for value, _, _ in steering.probes), steering.rounds, strict=False))
    for value, exponent, verdict in steering.probes:
        in_round = {"round": rounds[value]} if value in rounds else {}
        yield record(
            name=f"steering {steering.name}={value!r}",
            value=exponent,
            estimand="growth after the neighbours have turned for half of the horizon",
            details={
                "verdict": verdict,
                "rate": value,
                "target": steering.target,
                "status": steering.status,
                "is chosen": int(value == steering.value),
                **in_round,
            },
        )


def _screening(screening: ScreeningRecord, probe: Probe) -> Iterator[ExponentRecord]:
    """What was measured of every candidate that the trial was chosen from."""
    record = _record_by(probe)
    for position, candidate in enumerate(screening.candidates):
        details: dict[str, float | int | str] = {
            "verdict": candidate.verdict,
            "rule": screening.rule,
            "is chosen": int(position == screening.chosen),
        }
        for name in ("initial_loss", "early_loss"):
            loss = getattr(candidate, name)
            if loss is not None:
                details[name] = loss
        yield record(
            name=f"candidate {position}",
            value=candidate.exponent,
            details=details,
        )


def _trajectories(candidate: Candidate, record: RecordSettings) -> list[TrajectoryRecord]:
    dtype = np.dtype(record.dtype)
    recorder = candidate.recorder
    series = [] if recorder is None else recorder.trajectories(candidate.number)
    if candidate.exponent is not None and candidate.measurement is not None:
        separations = candidate.measurement.log_separations.astype(dtype)
        series.append(TrajectoryRecord("separation", separations))
    checkpoints = candidate.checkpoints
    if checkpoints:
        steps = np.array([checkpoint.step for checkpoint in checkpoints], dtype=np.int64)
        losses = np.array([checkpoint.loss for checkpoint in checkpoints])
        series.append(TrajectoryRecord("validation_loss", losses, steps))
        metrics = [c.metric for c in checkpoints if c.metric is not None]
        if len(metrics) == len(checkpoints):
            series.append(TrajectoryRecord("metric", np.array(metrics), steps))
    return series


@lru_cache(maxsize=1)
def _versions() -> Mapping[str, str]:
    """Versions of what results depend on."""
    found: dict[str, str] = {}
    for package in ("lyapopt", "torch", "optuna", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that is not installed
            continue
    return found
