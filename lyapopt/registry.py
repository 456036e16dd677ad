"""Samplers, pruners and what goes into them, a row each: all that is said of a class by its name.

Neither torch nor Optuna is imported: a study file is checked against these rows at once. With a new
row the table of signatures is written anew (`python -m lyapopt.study.file.write_signatures`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from lyapopt.argument_rules import Range, Rule, number, one_of, whole

__all__ = ["REGISTRY", "Role", "Row", "is_exhaustive", "row_of"]

Role = Literal["sampler", "pruner", "crossover", "mutation"]


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
        rules: conditions on several of them together.
    """

    name: str
    import_path: str
    aliases: tuple[str, ...] = ()
    probes: bool = False
    exhaustive: bool = False
    several_values: bool = True
    package: str | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def range_of(self, argument: str) -> Range | None:
        """What is demanded of one argument alone; a seed is one of NumPy's everywhere."""
        return _SEED if argument == "seed" else self.ranges.get(argument)

    @property
    def class_name(self) -> str:
        """`TPESampler` of `optuna.samplers:TPESampler`."""
        return self.import_path.rpartition(":")[2]


_SEED = whole(0, 2**32 - 1)
_COUNT, _COUNT_OR_ZERO, _FACTOR = whole(1), whole(0), whole(2)
_AT_ONCE = whole(1, 10_000)
"""What is held in memory together, or tried one after the other, before a trial begins."""
_SHARE, _NOT_NEGATIVE, _POSITIVE = number(0, 1), number(0), number(0, open_low=True)
_OPEN_UNIT = Range("a number between 0 and 1, both excluded", lambda v: 0 < v < 1)
_OPEN_PERCENT = Range("a number between 0 and 100, both excluded", lambda v: 0 < v < 100)
_TARGET = Range(
    "adaptive, or a number above 0: nats per step, such as 0.01",
    lambda v: v > 0 if isinstance(v, int | float) else v == "adaptive",
)
_RULE = Range(
    "forecast, paper, or the import path of a function (package.module:name)",
    lambda v: isinstance(v, str) and (v in ("forecast", "paper") or ":" in v),
)
_HOT = Range("a number above 0, in nats per step (or null: hot systems are kept)", lambda v: v > 0)
_SLOW = Range("a share, such as 0.01 (or null: slow systems are kept)", lambda v: v < 1)
_NO_TRIALS = Range("null: a file holds no trials", lambda _: False)
_POINTS = Range(
    "a list of points, such as [[1, 0], [0, 1]], all of as many numbers", lambda v: _is_table(v)
)
_STEPS = {
    "n_startup_trials": _COUNT_OR_ZERO,
    "n_warmup_steps": _COUNT_OR_ZERO,
    "interval_steps": _COUNT,
    "n_min_trials": _COUNT,
}
_GENETIC = {
    "population_size": _FACTOR,
    "mutation_prob": _SHARE,
    "crossover_prob": _SHARE,
    "swapping_prob": _SHARE,
    "reference_points": _POINTS,
    "dividing_parameter": whole(1, 1000),
}
_BINARY = {
    "eta": _NOT_NEGATIVE,
    "uniform_crossover_prob": _SHARE,
    "use_child_gene_prob": number(0, 1, open_low=True),
}
# How far from its parents a child may lie, in their distances: those outside of the space are drawn
# again, so that with a large number it would never end.
_NEAR, _EXPANSION = number(0, 2), number(0, 10)
_CROWDED = Rule(
    "population_size",
    "this crossover takes three parents, more than there are",
    lambda a: (
        a.get("population_size", 50) < 3 and a.get("crossover") in ("SPXCrossover", "UNDXCrossover")
    ),
    "population_size: 3, or more",
)


_HIDDEN = Rule(
    "wrapped",
    "Optuna does not see a Hyperband pruner inside another, and would mix its brackets",
    lambda a: a.get("wrapped") == "HyperbandPruner",
    "wrap successive-halving",
)


def _is_table(value: object) -> bool:
    """Whether it is a list of rows of equally many finite numbers."""
    rows = value if isinstance(value, list) else []
    return (
        bool(rows)
        and all(isinstance(row, list) and len(row) == len(rows[0]) > 0 for row in rows)
        and all(isinstance(n, int | float) and isfinite(n) for row in rows for n in row)
    )


def _exclude(first: str, second: str) -> Rule:
    """Of two switches, one at most is on."""
    return Rule(
        second,
        f"{first} and {second} exclude each other",
        lambda a: a.get(first) is True and a.get(second) is True,
        "keep one of them",
    )


def _bootstraps(default: str) -> Rule:
    """Of pruners that wait for trials, where the resource is not known beforehand."""
    return Rule(
        "bootstrap_count",
        f"bootstrap_count needs a {default} that is a number, not auto",
        lambda a: a.get("bootstrap_count", 0) > 0 and a.get(default, "auto") == "auto",
        f"for example {default}: 100, or no bootstrap_count",
    )


_SAMPLERS = (
    Row(
        "edge-of-chaos",
        "lyapopt.search:EdgeOfChaosSampler",
        probes=True,
        ranges={
            "target": _TARGET,
            "rates_at_once": _AT_ONCE,
            "rounds": _AT_ONCE,
            "reuse": _NOT_NEGATIVE,
        },
    ),
    Row(
        "screening",
        "lyapopt.search:ScreeningSampler",
        probes=True,
        ranges={"candidates": _AT_ONCE, "rule": _RULE},
    ),
    Row(
        "tpe",
        "optuna.samplers:TPESampler",
        ranges={
            "n_startup_trials": _COUNT_OR_ZERO,
            "n_ei_candidates": whole(1, 1_000_000),
            "prior_weight": _NOT_NEGATIVE,
        },
        rules=(
            Rule(
                "group",
                "group needs multivariate",
                lambda a: a.get("group") is True and a.get("multivariate") is False,
                "multivariate: true",
            ),
        ),
    ),
    Row("random", "optuna.samplers:RandomSampler"),
    Row(
        "cma-es",
        "optuna.samplers:CmaEsSampler",
        several_values=False,
        package="cmaes",
        ranges={
            "n_startup_trials": _COUNT_OR_ZERO,
            "sigma0": _POSITIVE,
            "popsize": whole(2, 10_000),
            "source_trials": _NO_TRIALS,
        },
        rules=(
            _exclude("lr_adapt", "use_separable_cma"),
            _exclude("lr_adapt", "with_margin"),
            _exclude("use_separable_cma", "with_margin"),
        ),
    ),
    Row(
        "gp",
        "optuna.samplers:GPSampler",
        aliases=("gaussianprocess",),
        ranges={"n_startup_trials": _COUNT_OR_ZERO},
    ),
    Row(
        "nsgaii",
        "optuna.samplers:NSGAIISampler",
        aliases=("nsga2",),
        ranges=_GENETIC,
        rules=(_CROWDED,),
    ),
    Row(
        "nsgaiii",
        "optuna.samplers:NSGAIIISampler",
        aliases=("nsga3",),
        ranges=_GENETIC,
        rules=(_CROWDED,),
    ),
    Row(
        "qmc",
        "optuna.samplers:QMCSampler",
        aliases=("sobol",),
        ranges={"qmc_type": one_of(("sobol", "halton"))},
    ),
    Row("grid", "optuna.samplers:GridSampler", exhaustive=True),
    Row("brute-force", "optuna.samplers:BruteForceSampler", exhaustive=True),
    Row("partial-fixed", "optuna.samplers:PartialFixedSampler"),
)
_PRUNERS = (
    Row(
        "lyapunov",
        "lyapopt.search:LyapunovPruner",
        ranges={"slow": _SLOW, "hot": _HOT, "patience": _COUNT},
        rules=(_HIDDEN,),
    ),
    Row(
        "gated-percentile",
        "lyapopt.paper:GatedPercentilePruner",
        ranges={"percentile": _OPEN_PERCENT, "n_startup_trials": _COUNT},
        rules=(_HIDDEN,),
    ),
    Row("median", "optuna.pruners:MedianPruner", ranges=_STEPS),
    Row(
        "percentile",
        "optuna.pruners:PercentilePruner",
        ranges={"percentile": number(0, 100), **_STEPS},
    ),
    Row(
        "successive-halving",
        "optuna.pruners:SuccessiveHalvingPruner",
        aliases=("sha", "asha"),
        ranges={
            "min_resource": whole(1, or_word="auto"),
            "reduction_factor": _FACTOR,
            "min_early_stopping_rate": whole(0, 1000),
            "bootstrap_count": _COUNT_OR_ZERO,
        },
        rules=(_bootstraps("min_resource"),),
    ),
    Row(
        "hyperband",
        "optuna.pruners:HyperbandPruner",
        ranges={
            "min_resource": _COUNT,
            "max_resource": whole(1, or_word="auto"),
            "reduction_factor": _FACTOR,
            "bootstrap_count": _COUNT_OR_ZERO,
        },
        rules=(
            _bootstraps("max_resource"),
            Rule(
                "max_resource",
                "max_resource is below min_resource",
                lambda a: (
                    a.get("max_resource", "auto") != "auto"
                    and a["max_resource"] < a.get("min_resource", 1)
                ),
                "exchange them",
            ),
        ),
    ),
    Row(
        "threshold",
        "optuna.pruners:ThresholdPruner",
        ranges=_STEPS,
        rules=(
            Rule(
                "upper",
                "neither lower nor upper is given: nothing would be pruned",
                lambda a: a.get("lower") is None and a.get("upper") is None,
                "for example upper: 10.0",
            ),
            Rule(
                "upper",
                "upper is below lower",
                lambda a: None not in (a.get("lower"), a.get("upper")) and a["lower"] > a["upper"],
                "exchange them",
            ),
        ),
    ),
    Row(
        "patient",
        "optuna.pruners:PatientPruner",
        ranges={"patience": _COUNT_OR_ZERO, "min_delta": _NOT_NEGATIVE},
    ),
    Row(
        "wilcoxon",
        "optuna.pruners:WilcoxonPruner",
        ranges={"p_threshold": _SHARE, "n_startup_steps": _COUNT_OR_ZERO},
    ),
    Row("nop", "optuna.pruners:NopPruner", aliases=("none",)),
)
_CROSSOVERS = (
    Row("uniform", "optuna.samplers.nsgaii:UniformCrossover", ranges={"swapping_prob": _SHARE}),
    Row("blxalpha", "optuna.samplers.nsgaii:BLXAlphaCrossover", ranges={"alpha": _NEAR}),
    Row("sbx", "optuna.samplers.nsgaii:SBXCrossover", ranges=_BINARY),
    Row("spx", "optuna.samplers.nsgaii:SPXCrossover", ranges={"epsilon": _EXPANSION}),
    Row(
        "undx",
        "optuna.samplers.nsgaii:UNDXCrossover",
        ranges={"sigma_xi": _NEAR, "sigma_eta": _NEAR},
    ),
    Row("vsbx", "optuna.samplers.nsgaii:VSBXCrossover", ranges=_BINARY),
)
_MUTATIONS = (
    Row("polynomial", "optuna.samplers.nsgaii:PolynomialMutation", ranges={"eta": _NOT_NEGATIVE}),
)

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
