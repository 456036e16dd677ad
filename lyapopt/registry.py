"""Samplers, pruners and what goes into them, a row each: all that is said of a class by its name.

Neither torch nor Optuna is imported: a study file is checked against these rows at once. With a new
row the table of signatures is written anew (`python -m lyapopt.study.file.write_signatures`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["REGISTRY", "Range", "Role", "Row", "is_exhaustive", "row_of"]

Role = Literal["sampler", "pruner", "crossover", "mutation"]


@dataclass(frozen=True)
class Range:
    """A condition on an argument that its annotation does not tell, and its words."""

    expected: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Row:
    """A class that a study file can name.

    Attributes:
        name: its name in a study file.
        import_path: `package.module:Class`; also the key of its signature in
            `lyapopt.study.file.signature_table`.
        aliases: other names, written without dashes.
        probes: it builds and measures configurations itself, so it needs a task.
        exhaustive: it goes through finitely many points, each of them once, and then stops.
        several_values: it can optimize several values at once.
        package: what has to be installed beside Optuna.
        ranges: conditions on its arguments, by name.
    """

    name: str
    import_path: str
    aliases: tuple[str, ...] = ()
    probes: bool = False
    exhaustive: bool = False
    several_values: bool = True
    package: str | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """`TPESampler` of `optuna.samplers:TPESampler`."""
        return self.import_path.rpartition(":")[2]


_PERCENT = Range("a number between 0 and 100", lambda v: 0 <= v <= 100)
_NOT_NEGATIVE = Range("a number of at least 0", lambda v: v >= 0)
_POSITIVE = Range("a number of at least 1", lambda v: v >= 1)
_AT_LEAST_TWO = Range("a number of at least 2", lambda v: v >= 2)
_OPEN_UNIT = Range("a number between 0 and 1, both excluded", lambda v: 0 < v < 1)
_TARGET = Range(
    "adaptive, or a number above 0: nats per step, such as 0.01",
    lambda v: v > 0 if isinstance(v, int | float) else v == "adaptive",
)
_RULE = Range(
    "forecast, paper, or the import path of a function (package.module:name)",
    lambda v: isinstance(v, str) and (v in ("forecast", "paper") or ":" in v),
)
_HOT = Range("a number above 0, in nats per step (or null: hot systems are kept)", lambda v: v > 0)
_OPEN_PERCENT = Range("a number between 0 and 100, both excluded", lambda v: 0 < v < 100)
_STEPS = {
    "n_startup_trials": _NOT_NEGATIVE,
    "n_warmup_steps": _NOT_NEGATIVE,
    "interval_steps": _POSITIVE,
    "n_min_trials": _POSITIVE,
}

_SAMPLERS = (
    Row(
        "edge-of-chaos",
        "lyapopt.search:EdgeOfChaosSampler",
        probes=True,
        ranges={
            "target": _TARGET,
            "rates_at_once": _POSITIVE,
            "rounds": _POSITIVE,
            "reuse": _NOT_NEGATIVE,
        },
    ),
    Row(
        "screening",
        "lyapopt.search:ScreeningSampler",
        probes=True,
        ranges={"candidates": _POSITIVE, "rule": _RULE},
    ),
    Row("tpe", "optuna.samplers:TPESampler"),
    Row("random", "optuna.samplers:RandomSampler"),
    Row("cma-es", "optuna.samplers:CmaEsSampler", several_values=False, package="cmaes"),
    Row("gp", "optuna.samplers:GPSampler", aliases=("gaussianprocess",)),
    Row("nsgaii", "optuna.samplers:NSGAIISampler", aliases=("nsga2",)),
    Row("nsgaiii", "optuna.samplers:NSGAIIISampler", aliases=("nsga3",)),
    Row("qmc", "optuna.samplers:QMCSampler", aliases=("sobol",)),
    Row("grid", "optuna.samplers:GridSampler", exhaustive=True),
    Row("brute-force", "optuna.samplers:BruteForceSampler", exhaustive=True),
    Row("partial-fixed", "optuna.samplers:PartialFixedSampler"),
)
_PRUNERS = (
    Row(
        "lyapunov",
        "lyapopt.search:LyapunovPruner",
        ranges={
            "hot": _HOT,
            "level": _OPEN_UNIT,
            "hot_quantile": _OPEN_UNIT,
            "n_startup_trials": _POSITIVE,
        },
    ),
    Row(
        "forecast",
        "lyapopt.search:ForecastPruner",
        ranges={"k": _POSITIVE, "alpha": _OPEN_UNIT},
    ),
    Row(
        "gated-percentile",
        "lyapopt.search:GatedPercentilePruner",
        ranges={"percentile": _OPEN_PERCENT, "n_startup_trials": _POSITIVE},
    ),
    Row("median", "optuna.pruners:MedianPruner", ranges=_STEPS),
    Row("percentile", "optuna.pruners:PercentilePruner", ranges={"percentile": _PERCENT, **_STEPS}),
    Row(
        "successive-halving",
        "optuna.pruners:SuccessiveHalvingPruner",
        aliases=("sha", "asha"),
        ranges={"reduction_factor": _AT_LEAST_TWO},
    ),
    Row(
        "hyperband",
        "optuna.pruners:HyperbandPruner",
        ranges={"reduction_factor": _AT_LEAST_TWO},
    ),
    Row("threshold", "optuna.pruners:ThresholdPruner", ranges=_STEPS),
    Row(
        "patient",
        "optuna.pruners:PatientPruner",
        ranges={"patience": _NOT_NEGATIVE, "min_delta": _NOT_NEGATIVE},
    ),
    Row("wilcoxon", "optuna.pruners:WilcoxonPruner"),
    Row("nop", "optuna.pruners:NopPruner", aliases=("none",)),
)
_CROSSOVERS = (
    Row("uniform", "optuna.samplers.nsgaii:UniformCrossover"),
    Row("blxalpha", "optuna.samplers.nsgaii:BLXAlphaCrossover"),
    Row("sbx", "optuna.samplers.nsgaii:SBXCrossover"),
    Row("spx", "optuna.samplers.nsgaii:SPXCrossover"),
    Row("undx", "optuna.samplers.nsgaii:UNDXCrossover"),
    Row("vsbx", "optuna.samplers.nsgaii:VSBXCrossover"),
)
_MUTATIONS = (Row("polynomial", "optuna.samplers.nsgaii:PolynomialMutation"),)

REGISTRY: Mapping[Role, tuple[Row, ...]] = {
    "sampler": _SAMPLERS,
    "pruner": _PRUNERS,
    "crossover": _CROSSOVERS,
    "mutation": _MUTATIONS,
}
"""The classes by role, ours first, then Optuna's from the most used to the least."""

_BY_CLASS = {row.class_name: row for rows in REGISTRY.values() for row in rows}


def row_of(class_name: str) -> Row | None:
    """The row of a class, by its name alone: `lyapopt:EdgeOfChaosSampler` is that class as well.

    >>> row_of("CmaEsSampler").package
    'cmaes'
    """
    return _BY_CLASS.get(class_name)


def is_exhaustive(sampler: object) -> bool:
    """Whether a sampler's class, or one that it derives from, tries finitely many points once."""
    rows = (row_of(ancestor.__name__) for ancestor in type(sampler).__mro__)
    return any(row is not None and row.exhaustive for row in rows)
