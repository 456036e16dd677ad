"""What a run came to, on stdout."""

from __future__ import annotations

from collections.abc import Sequence

from lyapopt.cli.text import (
    LONGEST_REASON,
    WHOLE_REASON,
    assignments,
    count,
    counts,
    duration,
    echo,
    interval,
    print_rows,
    short,
)
from lyapopt.display import one_line
from lyapopt.study.analysis.overview import Overview, StoredStudy, StoredTrial

__all__ = ["best_in_words", "cost_in_words", "facts", "print_best_line", "print_summary"]

_SHOWN_OF_FRONT = 5


def print_summary(
    study: StoredStudy,
    overview: Overview,
    reason: str,
    seconds: float | None,
    commands: Sequence[str],
) -> None:
    """Print the best trial, the counts, the cost, and what to do next.

    Args:
        study: The study.
        overview: Its counts, costs and best trials.
        reason: Why the run stopped.
        seconds: How long it took; `None` if it ran nothing.
        commands: What the user may want to run next.
    """
    echo(f"study {short(study.name)}: {reason}\n")
    rows = facts(study, overview)
    if seconds is not None:
        rows.append(("time", duration(seconds)))
    if overview.best:
        rows += [("" if k else "next", command) for k, command in enumerate(commands)]
    print_rows(rows)


def facts(study: StoredStudy, overview: Overview) -> list[tuple[str, str]]:
    """Labels and texts: the best trial, counts, cost; of failures the first reason."""
    rows: list[tuple[str, str]] = []
    for number, trial in enumerate(overview.best[:_SHOWN_OF_FRONT]):
        rows.append(("" if number else "best", best_in_words(trial)))
        rows.append(("", assignments(trial.params)))
    if len(overview.best) > _SHOWN_OF_FRONT:
        rows.append(("", f"and {len(overview.best) - _SHOWN_OF_FRONT} more on the Pareto front"))
    if not overview.best:
        rows.append(("best", "there is no completed trial"))
    rows.append(("trials", counts(dict(overview.states.most_common())) or "none"))
    if overview.verdicts:
        rows.append(("verdicts", counts(dict(overview.verdicts.most_common()))))
    rows.append(("cost", cost_in_words(overview)))
    failed = next((trial for trial in study.trials if trial.state == "failed"), None)
    if failed is not None and failed.reason:
        reason = one_line(failed.reason, LONGEST_REASON, WHOLE_REASON)
        rows.append(("failure", f"trial {failed.number}: {reason}"))
    return rows


def best_in_words(trial: StoredTrial) -> str:
    """Number, value, exponent and verdict of a trial.

    Example:
        >>> attributes = {"exponent": -0.0123456, "verdict": "edge"}
        >>> best_in_words(StoredTrial(7, "complete", (0.25,), {}, attributes))
        'trial 7, value 0.25, exponent -0.01235, edge'
    """
    parts = [f"trial {trial.number}"]
    label = "value" if len(trial.values) == 1 else "values"
    parts.append(f"{label} {', '.join(short(value) for value in trial.values)}")
    if trial.exponent is not None:
        parts.append(f"exponent {short(trial.exponent)} {interval(trial.interval)}".rstrip())
    if trial.verdict is not None:
        parts.append(short(trial.verdict))
    return ", ".join(parts)


def cost_in_words(overview: Overview) -> str:
    """Gradient evaluations spent, and what was saved of those of a plain study."""
    if not overview.gradient_evaluations and not overview.so_far:
        return "no gradient evaluations were counted"
    text = f"{count(overview.gradient_evaluations)} gradient evaluations"
    if overview.so_far:
        text += f", and {count(overview.so_far)} so far of trials that are running"
    return "; ".join(filter(None, (text, overview.saved_in_words)))


def print_best_line(overview: Overview) -> None:
    """Print the best trial in one line each, or nothing."""
    for trial in overview.best:
        echo(f"{best_in_words(trial)}, {assignments(trial.params)}")
