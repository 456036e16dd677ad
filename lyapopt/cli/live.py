"""The live table: counts, the best trial, the newest trials, what is running."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, get_args

from optuna.trial import FrozenTrial
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lyapopt.cli.progress import ProgressListener, numbers_in_words, seed_names
from lyapopt.cli.running_table import running_table
from lyapopt.cli.text import assignments, count, counts, duration, short
from lyapopt.cli.trial_table import style_of, trial_table
from lyapopt.display import one_line
from lyapopt.store.states import EndState
from lyapopt.store.trials import StoredTrial
from lyapopt.study.analysis.overview import best_trials, load_study
from lyapopt.study.file import StudyFile
from lyapopt.study.run.events import RunningTrial, StudyEvent

_NEWEST = 10
_REFRESHES_PER_SECOND = 4
_LINES_ABOVE = 8
_LINES_OF_RUNNING = 4  # an empty one, the head, a trial, and one below
_STATES: Final = get_args(EndState)
_VERDICTS = ("edge", "neutral", "contracting", "cool", "hot", "dead", "diverged")
"""In the order in which they are counted; `cool` is a word of former versions."""


class LiveListener(ProgressListener):
    """Draws the state of the study on a terminal, several times a second.

    Args:
        file: The study file.
        console: A terminal.
    """

    def __init__(self, file: StudyFile, console: Console) -> None:
        self._file = file
        self._console = console
        self._seeds = seed_names(file)
        self._states: Counter[str] = Counter()
        self._verdicts: Counter[str] = Counter()
        self._best: list[StoredTrial] = []
        self._newest: deque[StoredTrial] = deque(maxlen=_NEWEST)
        self._running: list[int] = []
        self._training: Sequence[RunningTrial] = ()
        self._cost = 0.0
        self._done = 0
        self._total: int | None = None
        self._began = self._group_began = time.monotonic()
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
        )

    def stop(self) -> None:
        """Clear the table away."""
        self._live.stop()

    def abandon(self) -> None:
        """Show the cursor again."""
        os.write(self._console.file.fileno(), b"\x1b[?25h\n")

    def started(self, event: StudyEvent) -> None:
        """Take in what the study has, and begin to draw."""
        stored = load_study(self._file.storage, event.study_name)
        for trial in stored.trials:
            if trial.state in _STATES:
                self._count(trial)
        self._done, self._total = len(event.ledger.done), event.total
        self._best = best_trials(stored.trials, self._file.all_directions)
        self._began = time.monotonic()
        self._live.start()

    def note(self, text: str) -> None:
        """Print it above the table."""
        self._console.print(Text(f"note: {one_line(text)}"))

    def group_started(self, numbers: list[int]) -> None:
        """Show which trials are training."""
        self._running = list(numbers)
        self._training = ()
        self._group_began = time.monotonic()

    def training(self, trials: Sequence[RunningTrial]) -> None:
        """Show how far each of them is."""
        self._training = trials

    def finished(self, trial: FrozenTrial, reason: str | None) -> None:
        """Take in a trial that has ended."""
        stored = StoredTrial.of(trial, reason)
        self._done += 1
        self._count(stored)
        self._newest.append(stored)
        self._best = best_trials([*self._best, stored], self._file.all_directions)

    def _count(self, trial: StoredTrial) -> None:
        self._states[trial.state] += 1
        if trial.verdict is not None:
            self._verdicts[trial.verdict] += 1
        self._cost += trial.gradient_evaluations

    # Drawing; called from the thread that refreshes.

    def _render(self) -> RenderableType:
        width = self._console.width
        parts: list[RenderableType] = [self._heading(), *self._facts()]
        room = max(1, self._console.height - _LINES_ABOVE - 2)
        running = [trial for trial in self._training if trial.is_running]
        if running and room > _LINES_OF_RUNNING:
            shown = running[: max(1, min(_NEWEST, room // 2))]
            parts += [Text(), running_table(shown, width, self._seeds)]
            room -= len(shown) + _LINES_OF_RUNNING - 1
        newest = list(self._newest)[-max(1, min(_NEWEST, room)) :]
        if newest:
            parts.append(Text())
            parts.append(trial_table(newest, width, seeds=self._seeds, with_reason=False))
        return Group(*parts)

    def _heading(self) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True, overflow="ellipsis")
        grid.add_column()
        grid.add_column(no_wrap=True)
        total = "" if self._total is None else f"/{self._total}"
        bar: RenderableType = ""
        if self._total is not None and self._console.width >= 60:
            bar = ProgressBar(total=self._total, completed=self._done, width=20)
        elapsed = duration(time.monotonic() - self._began)
        name = Text(short(self._file.study_name), style="bold")
        grid.add_row(name, bar, f"{self._done}{total} trials, {elapsed}")
        return grid

    def _facts(self) -> list[RenderableType]:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True, min_width=8)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        grid.add_row("trials", counts({s: self._states[s] for s in _STATES}) or "none yet")
        grid.add_row("verdicts", self._verdict_text())
        grid.add_row("best", Text(self._best_text()))
        grid.add_row("cost", f"{count(self._cost)} gradient evaluations")
        grid.add_row("running", self._running_text())
        return [grid]

    def _verdict_text(self) -> Text:
        named = [*_VERDICTS, *sorted(set(self._verdicts) - set(_VERDICTS))]
        parts = [
            (f"{self._verdicts[v]} {short(v)}", style_of(v)) for v in named if self._verdicts[v]
        ]
        if not parts:
            return Text("none yet")
        return Text(", ").join(Text(text, style=style) for text, style in parts)

    def _best_text(self) -> str:
        if not self._best:
            return "no completed trial yet"
        if len(self._best) > 1:
            return f"{len(self._best)} trials on the Pareto front"
        [best] = self._best
        params = {name: value for name, value in best.params.items() if name not in self._seeds}
        return f"trial {best.number}  value {short(best.value)}  {assignments(params)}"

    def _running_text(self) -> str:
        if not self._running:
            return "-"
        elapsed = duration(time.monotonic() - self._group_began)
        return f"{numbers_in_words(self._running)}, for {elapsed}"
