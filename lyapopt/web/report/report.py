"""The report of a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lyapopt.display import one_line
from lyapopt.figures.page import Section, Table, page
from lyapopt.figures.registry import FIGURES
from lyapopt.figures.text import worded
from lyapopt.figures.trial_table import trial_table
from lyapopt.study.analysis.data import StudyData
from lyapopt.study.analysis.overview import StoredTrial
from lyapopt.web.layouts import Layout
from lyapopt.web.pages.drawing import figure_of
from lyapopt.web.pages.facts import study_facts, trained_in_words
from lyapopt.web.report.statistics import (
    correlation_table,
    ending_table,
    group_table,
    parameter_table,
)

_MOST_BEST = 10
_LOOKED_AT = 20  # trials, for the settings that all were run with


def study_report(
    data: StudyData, layout: Layout, command: str, file: Mapping[str, Any] | None = None
) -> str:
    """The HTML of the report: one page that needs no network.

    Args:
        data: The study.
        layout: Which figures it has, in which order; those of one trial are of the best.
        command: The command that made it.
        file: What the study's file said, where that is known.
    """
    facts = study_facts(data)
    sections = [
        Section("Where it stands", facts["notes"], tables=[_standing(facts)]),
        Section("The best trials", tables=[*_best_tables(data)]),
        Section(
            "What the numbers say",
            [
                "An exponent is the mean growth of the separation of neighbours over the horizon, "
                "in nats per step; those of other horizons or network sizes are not comparable.",
            ],
            tables=[correlation_table(data), group_table(data)],
        ),
        Section("What ended trials, and why", tables=[ending_table(data)]),
        Section("Figures", figures=[figure_of(panel, data, trial=facts["first"])
                                    for panel in layout.panels if _is_drawn(panel.figure, data)]),
        Section("Settings", tables=[*_settings(data, file or {})]),
    ]  # fmt: skip
    return page(f"Study {one_line(data.name, 200)}", command, sections)


def _is_drawn(name: str, data: StudyData) -> bool:
    """Whether a figure has its numbers: a page that is printed does without empty places."""
    return name in {*dir(data.figures)} and not (
        FIGURES[name].of_trial and data.overview.states.total() == 0
    )


def _standing(facts: Mapping[str, Any]) -> Table:
    def counted(entries: list[dict[str, Any]]) -> str:
        return ", ".join(f"{each['count']:,} {each['name']}" for each in entries) or "none"

    rows = [
        ["directions", ", ".join(facts["directions"])],
        ["trials", counted(facts["states"])],
        ["verdicts", counted(facts["verdicts"])],
        ["spent", _spent(facts)],
        ["saved", "not known" if facts["saved"] is None else facts["saving"] or "nothing"],
    ]
    return Table([], rows)


def _spent(facts: Mapping[str, Any]) -> str:
    full = facts["promoted"]
    more = "" if full is None else f", and {full['spent']:,.0f} to train the best in full"
    return f"{facts['spent']:,.0f} gradient evaluations{more}"


def _best_tables(data: StudyData) -> Iterator[Table]:
    """Those that were trained in full come first, wherever that was."""
    if data.promoted is None:
        yield _best(data)
        return
    name = one_line(data.promoted.name, 200)
    yield _best(data.promoted, f"Trained in full, in the study {name}")
    yield _best(data, f"Ranked, {trained_in_words(data)}: values of another kind")


def _best(data: StudyData, caption: str = "") -> Table:
    rows = [
        [
            str(trial.number),
            ", ".join(f"{value:.6g}" for value in trial.values),
            "" if trial.exponent is None else worded(trial.exponent),
            trial.verdict or "",
            one_line(", ".join(f"{n} = {worded(v)}" for n, v in trial.params.items()), 400),
        ]
        for trial in _first_trials(data)
    ]
    return Table(["trial", "value", "exponent", "verdict", "parameters"], rows, caption)


def _first_trials(data: StudyData) -> list[StoredTrial]:
    """The first of a single objective by their values, or the first of the Pareto front."""
    if len(data.directions) != 1:
        return list(data.overview.best[:_MOST_BEST])
    table = trial_table(data.trials)
    numbers = table.nsmallest(_MOST_BEST, "score")["number"]
    found = [data.trial(int(number)) for number in numbers]
    return [trial for trial in found if trial is not None and trial.values]


def _settings(data: StudyData, file: Mapping[str, Any]) -> Iterator[Table]:
    """What the file said, or else how the first trials were measured; and with which versions."""
    yield parameter_table(data)
    is_recorded = data.is_recorded and len(data.runs) > 0
    empty: Mapping[str, Any] = {"settings": (), "versions": ()}
    first: Any = data.runs.head(_LOOKED_AT) if is_recorded else empty
    found, versions = (
        next((each for each in first[name] if isinstance(each, Mapping)), {})
        for name in ("settings", "versions")
    )
    said = {name: each for name, each in file.items() if name not in ("storage", "store")}
    rows = [
        [one_line(name, 80), one_line(worded(each), 300)] for name, each in _flat(said or found)
    ]
    caption = "As the study's file says" if said else "As the first trials were measured"
    yield Table(["setting", "value"] if rows else [], rows, caption if rows else "")
    names = ["version of", ""] if versions else []
    yield Table(names, [[one_line(n, 40), one_line(v, 60)] for n, v in versions.items()])


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
