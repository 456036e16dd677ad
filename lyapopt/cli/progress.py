"""How a running study is shown without a live table: a line a trial, notes only, or nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from optuna.trial import FrozenTrial
from rich.console import Console
from rich.text import Text

from lyapopt.cli.text import (
    LONGEST_REASON,
    WHOLE_REASON,
    assignments,
    interval,
    plural,
    short,
)
from lyapopt.display import one_line, printable
from lyapopt.store.engine import has_sql
from lyapopt.store.trials import StoredTrial
from lyapopt.study.file import StudyFile
from lyapopt.study.run.events import StudyEvent, StudyListener

__all__ = ["LineListener", "NoteListener", "ProgressListener", "trial_line"]


class ProgressListener(StudyListener):
    """A listener that is shown inside a `with` block; this one shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop showing."""

    def abandon(self) -> None:
        """Leave a usable terminal, at once: the process ends, and locks may be held."""


class NoteListener(ProgressListener):
    """Shows what the user should know, and no progress."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def note(self, text: str) -> None:
        """Print it."""
        self.print(f"note: {one_line(text)}")

    def print(self, text: str) -> None:
        """Print a line as it is, however wide the terminal."""
        self.console.print(Text(printable(text)), soft_wrap=True)


class LineListener(NoteListener):
    """One plain line for each trial."""

    def __init__(self, file: StudyFile, console: Console) -> None:
        super().__init__(console)
        self._seeds = seed_names(file)
        self._whole = WHOLE_REASON if file.store or has_sql(file.storage) else ""

    def started(self, event: StudyEvent) -> None:
        """Say where the study stands."""
        done = len(event.ledger.done)
        total = "" if event.total is None else f" of {event.total}"
        self.print(f"study {short(event.study_name)}: {done}{total} trials done")

    def finished(self, trial: FrozenTrial, reason: str | None) -> None:
        """Print the trial."""
        self.print(trial_line(StoredTrial.of(trial, reason), self._seeds, self._whole))


def seed_names(file: StudyFile) -> frozenset[str]:
    """Parameters that are seeds: long numbers that tell nobody anything."""
    return frozenset(name for name, entry in file.variables.items() if entry.type == "seed")


def trial_line(trial: StoredTrial, seeds: frozenset[str] = frozenset(), whole: str = "") -> str:
    """A trial in one line.

    Args:
        trial: It.
        seeds: Parameters that are left out.
        whole: Where the whole reason is, in words, should it be long.

    Example:
        >>> attributes = {"exponent": 0.0123456, "verdict": "edge"}
        >>> trial_line(StoredTrial(7, "complete", (0.25,), {"lr": 0.1}, attributes))
        'trial    7  complete  edge      lr=0.1  exponent 0.01235  value 0.25'
    """
    params = {name: value for name, value in trial.params.items() if name not in seeds}
    verdict = short(trial.verdict or "-")
    parts = [f"trial {trial.number:>4}  {trial.state:<8}  {verdict:<8}"]
    parts.append(assignments(params))
    if trial.exponent is not None:
        parts.append(f"exponent {short(trial.exponent)} {interval(trial.interval)}".rstrip())
    if trial.values:
        label = "value" if len(trial.values) == 1 else "values"
        parts.append(f"{label} {' '.join(short(value) for value in trial.values)}")
    if trial.reason:
        parts.append(one_line(trial.reason, LONGEST_REASON, whole))
    return "  ".join(part for part in parts if part)


def numbers_in_words(numbers: list[int]) -> str:
    """Trial numbers, shortened to a range where there are no holes.

    Example:
        >>> numbers_in_words([4, 5, 6]), numbers_in_words([4]), numbers_in_words([4, 7])
        ('trials 4 to 6', 'trial 4', '2 trials: 4, 7')
    """
    if len(numbers) == 1:
        return f"trial {numbers[0]}"
    if numbers and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"trials {numbers[0]} to {numbers[-1]}"
    return f"{plural(len(numbers), 'trial')}: {', '.join(map(str, numbers))}"
