"""What a comparison of methods says: tables, targets, and a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import pandas as pd

from lyapopt.bench.pages import plain_rows
from lyapopt.bench.search.methods import (
    AUTO,
    OURS,
    PRUNED_AND_RANKED,
    PRUNED_TPE,
    RANDOM_PRUNED_AND_RANKED,
)
from lyapopt.bench.search.statistics import (
    areas,
    compute_to_reach,
    cube,
    differences,
    interval,
    summary,
)
from lyapopt.figures import mean_rank, number_table, regret_against_compute
from lyapopt.figures.page import Section, page

_SHOWN = 12
_AREAS: Final = {
    "small": "area under regret up to 3 trainings",
    "area": "area under regret over all budgets",
}


@dataclass(frozen=True)
class Target:
    """One statement.

    Attributes:
        text: The statement.
        ours: Which method of ours it is about.
        rival: Whom it compares with.
        difference: Ours less the rival's; negative is better.
        low, high: 95 % interval.
        outcome: `held`, `missed`, or `open`: "not worse" is open where the mean is worse and the
            interval does not exclude either; "better" is missed unless the interval excludes zero.
    """

    text: str
    ours: str
    rival: str
    difference: float
    low: float
    high: float
    outcome: Literal["held", "missed", "open"]


@dataclass(frozen=True)
class SearchReport:
    """The numbers of a comparison.

    Attributes:
        results: Every run.
        summary: One row a method.
        against: Ours less every other method, all budgets; empty where ours did not take part.
        reach: The budget at which ours reaches what others do with the largest.
        by_case: Mean area of every method on every case.
        targets: Statements with intervals.
        live: A few configurations really trained, see `live_check`.
    """

    results: pd.DataFrame
    summary: pd.DataFrame
    against: pd.DataFrame
    reach: pd.DataFrame
    by_case: pd.DataFrame
    targets: list[Target]
    live: pd.DataFrame = field(default_factory=pd.DataFrame)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        tables = ("summary", "against", "reach", "by_case", "live")
        plain = {name: plain_rows(getattr(self, name)) for name in tables}
        return {**plain, "targets": [asdict(target) for target in self.targets]}

    def _drawn(self) -> list[str]:
        """Names of the methods that are drawn, best first."""
        known = self.summary[self.summary["family"] != "control"]["method"].tolist()
        return [name for name in known if name in {*known[:_SHOWN], OURS, "random"}]

    def as_page(self, command: str) -> str:
        """A page of figures."""
        chosen = self._drawn()
        statements = pd.DataFrame([asdict(target) for target in self.targets])
        sections = [
            Section(
                "Regret against compute",
                [
                    "Regret is the final validation loss of the best training that a method has "
                    "completed, on a scale from 0 (the best of the table) to 1 (an untrained "
                    "network). The budget counts every gradient evaluation: trainings, abandoned "
                    "ones, probes with their neighbours, and evaluations. Of the methods, the "
                    "best are drawn; the oracle is not, since a logarithmic axis has no zero."
                ],
                [regret_against_compute(self.results, chosen)],
            ),
            Section("Mean rank", ["Ranks by area under regret."], [mean_rank(self.summary)]),
            Section(
                "Area under regret",
                ["Over the logarithm of the budget, with 95 % intervals."],
                [mean_rank(self.summary, "area", "area under regret"), number_table(self.summary)],
            ),
            Section("By case", ["Mean area under regret."], [number_table(self.by_case)]),
        ]
        if len(self.against):
            text = "Ours less theirs, paired by case and seed; Wilcoxon with Holm's correction."
            sections.append(Section(f"{OURS} against each", [text], [number_table(self.against)]))
            sections.append(Section("Compute to reach", [_REACH], [number_table(self.reach)]))
        if self.targets:
            sections.append(Section("Targets", [], [number_table(statements)]))
        if len(self.live):
            sections.append(Section("Trained live", [_LIVE], [number_table(self.live)]))
        return page("lyapopt bench search", command, sections)


_LIVE = (
    "A few configurations trained by themselves, and at a random rate that is snapped to theirs: "
    "what snapping hides is the difference in regret."
)
_REACH = "The budget, in full trainings, at which ours has the regret of others at the largest one."


def report_of(
    results: pd.DataFrame, ours: str = OURS, live: pd.DataFrame | None = None
) -> SearchReport:
    """All numbers of a comparison."""
    takes_part = ours in set(results["method"]) and results["method"].nunique() > 1
    by_case = areas(results).pivot_table(index="method", columns="case", values="area")
    table = summary(results)
    return SearchReport(
        results=results,
        summary=table,
        against=differences(results, ours) if takes_part else pd.DataFrame(),
        reach=compute_to_reach(results, ours) if takes_part else pd.DataFrame(),
        by_case=by_case.loc[table["method"]].reset_index(),
        targets=targets(results) if takes_part else [],
        live=pd.DataFrame() if live is None else live,
    )


def targets(results: pd.DataFrame) -> list[Target]:
    """The statements that the compared methods allow: of ours, against the best of their rivals.

    Which i-Epoch and which pruner of Optuna's is the best is chosen on the same results, in favour
    of the rivals.
    """
    methods = set(results["method"])
    return [
        statement
        for ours in (OURS, AUTO, PRUNED_AND_RANKED, RANDOM_PRUNED_AND_RANKED, PRUNED_TPE)
        if ours in methods
        for statement in _targets_of(ours, results)
    ]


def _targets_of(ours: str, results: pd.DataFrame) -> Iterator[Target]:
    means = areas(results).groupby("method")[["small", "area", "last"]].mean()
    epochs = means[means.index.str.startswith("i-Epoch")]
    pruned = means[means.index.isin(("TPE + Median", "TPE + Hyperband"))]
    for column, name in _AREAS.items() if len(epochs) else ():
        best = str(epochs[column].idxmin())
        if ours != PRUNED_TPE:
            text = f"{name}: below the best i-Epoch's"
            yield _compare(results, ours, best, column, text, is_strict=True)
            text = f"{name}: not above half of the best i-Epoch's"
            yield _compare(results, ours, best, column, text, factor=0.5)
        elif column == "area":
            text = f"{name}: not above the best i-Epoch's"
            yield _compare(results, ours, best, column, text)
    if ours == OURS and "ternary loss search" in means.index:
        text = f"{_AREAS['small']}: not above the ternary loss search's"
        yield _compare(results, ours, "ternary loss search", "small", text)
    if len(pruned):
        text = "regret at the largest budget: not above the better of TPE + Median and + Hyperband"
        yield _compare(results, ours, str(pruned["last"].idxmin()), "last", text)


def _compare(
    results: pd.DataFrame,
    ours: str,
    rival: str,
    column: str,
    text: str,
    *,
    is_strict: bool = False,
    factor: float = 1.0,
) -> Target:
    values = cube(areas(results), column, [ours, rival])
    gap = values[..., 0] - factor * values[..., 1]
    low, high = (float(end) for end in interval(gap))
    difference = float(gap.mean())
    return Target(
        text, ours, rival, difference, low, high, _outcome(difference, low, high, is_strict)
    )


def _outcome(
    difference: float, low: float, high: float, is_strict: bool
) -> Literal["held", "missed", "open"]:
    if is_strict:
        return "held" if high < 0 else "missed"
    if low > 0:
        return "missed"
    return "held" if difference <= 0 else "open"
