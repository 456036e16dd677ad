"""Trials as a table that fits the terminal.

A title is what `--columns`, `--sort` and `--where` call the column.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from lyapopt.cli.fields import Fields
from lyapopt.cli.text import count, interval, parameter, short
from lyapopt.display import one_line
from lyapopt.store.trials import StoredTrial

__all__ = ["PlainTable", "style_of", "trial_table"]

_STYLES = {
    "edge": "green",
    "neutral": "cyan",
    "contracting": "cyan",
    "cool": "cyan",
    "hot": "yellow",
    "dead": "blue",
    "diverged": "red",
    "failed": "red",
    "running": "bold",
}
_OPTIONAL = ("interval", "measured", "reason")  # columns that are left out where they are empty
_PADDING = 2
_LONGEST_REASON = 60


@dataclass(frozen=True)
class _Column:
    title: str
    text: Callable[[StoredTrial], str]
    justify_right: bool = False
    importance: int = 9  # the least important columns go first where the terminal is narrow

    def width(self, trials: Sequence[StoredTrial]) -> int:
        return max(cell_len(self.title), *(cell_len(self.text(trial)) for trial in trials))


def style_of(word: str | None) -> str:
    """Colour of a verdict or a state."""
    return _STYLES.get(word or "", "")


def trial_table(
    trials: Sequence[StoredTrial],
    width: int,
    *,
    seeds: Collection[str] = (),
    with_reason: bool = True,
) -> Table:
    """A table of trials with as many columns as fit.

    Args:
        trials: At least one.
        width: Width of the terminal, in characters.
        seeds: Parameters that are left out.
        with_reason: Whether to show cost and reason too.
    """
    columns = _fitting(_columns(trials, seeds, with_reason), trials, width)
    table = Table(box=None, padding=(0, _PADDING, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(
            Text(column.title),  # text in brackets is no markup
            justify="right" if column.justify_right else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for trial in trials:
        table.add_row(*(_cell(column, trial) for column in columns))
    return table


class PlainTable:
    """The same table as plain lines, the header first: of ten thousand trials in a moment.

    Args:
        trials: At least one.
        width: Width of the terminal, in characters; `None` shows all columns.
        names: Fields to show instead, all of them; the others are left out without a word.
        fields: Those of the study, for the names.

    Attributes:
        left_out: Titles of the columns that there is no room for.
    """

    def __init__(
        self,
        trials: Sequence[StoredTrial],
        width: int | None = None,
        names: Sequence[str] | None = None,
        fields: Fields | None = None,
    ) -> None:
        self._trials = trials
        if names is None:
            whole = _columns(trials, (), with_reason=True)
            self._columns = whole if width is None else _fitting(whole, trials, width)
            kept = {column.title for column in self._columns}
            self.left_out = [column.title for column in whole if column.title not in kept]
        else:
            known = fields or Fields(trials)
            self._columns = [_field(name, known, trials) for name in names]
            self.left_out = []

    def lines(self) -> Iterator[str]:
        """Header and rows."""
        columns = self._columns
        texts = [[c.title, *(c.text(trial) for trial in self._trials)] for c in columns]
        widths = [max(map(cell_len, column)) for column in texts]
        for cells in zip(*texts, strict=True):
            padded = (
                text.rjust(room) if column.justify_right else text.ljust(room)
                for text, column, room in zip(cells, columns, widths, strict=True)
            )
            yield (" " * _PADDING).join(padded).rstrip()


def _field(name: str, fields: Fields, trials: Sequence[StoredTrial]) -> _Column:
    """The column of a field that was asked for by its name."""
    values = [fields.get(name, trial) for trial in trials]
    is_number = all(isinstance(v, int | float | None) and not isinstance(v, bool) for v in values)
    return _Column(name, lambda t: _in_words(fields.get(name, t)), is_number)


def _in_words(value: object) -> str:
    return one_line(value) if isinstance(value, str) else short(value)


def _cell(column: _Column, trial: StoredTrial) -> Text:
    text = column.text(trial)
    return Text(text, style=style_of(text) if column.title in ("verdict", "state") else "")


def _columns(
    trials: Sequence[StoredTrial], seeds: Collection[str], with_reason: bool
) -> list[_Column]:
    fields = Fields(trials)
    shown = {name: title for name, title in fields.params.items() if name not in seeds}
    columns = [
        _Column("trial", lambda t: str(t.number), True),
        *(_param(name, shown[name], 6 if place else 7) for place, name in enumerate(shown)),
        _Column("exponent", lambda t: short(t.exponent), True, 8),
        _Column("interval", lambda t: interval(t.interval), False, 3),
        _Column("measured", lambda t: one_line(t.measured or ""), False, 1),
        _Column("verdict", lambda t: short(t.verdict), False, 9),
    ]
    objectives = max((len(trial.values) for trial in trials), default=1)
    columns += [_value(index, objectives) for index in range(max(1, objectives))]
    columns.append(_Column("state", lambda t: t.state, False, 5))
    if with_reason:
        columns.append(_Column("cost", lambda t: count(t.gradient_evaluations), True, 4))
        columns.append(
            _Column("reason", lambda t: one_line(t.reason or "", _LONGEST_REASON), False, 2)
        )
    return [
        column
        for column in columns
        if column.title not in _OPTIONAL or any(column.text(t) for t in trials)
    ]


def _param(name: str, title: str, importance: int) -> _Column:
    return _Column(short(title), lambda t: parameter(t.params, name), False, importance)


def _value(index: int, objectives: int) -> _Column:
    title = "value" if objectives < 2 else f"value_{index}"
    return _Column(
        title, lambda t: short(t.values[index]) if index < len(t.values) else "", True, 10
    )


def _fitting(columns: list[_Column], trials: Sequence[StoredTrial], width: int) -> list[_Column]:
    """The columns without the least important ones, until the rest fits."""
    widths = {column.title: column.width(trials) + _PADDING for column in columns}
    kept = list(columns)
    while sum(widths[column.title] for column in kept) - _PADDING > width and len(kept) > 1:
        least = min(kept, key=lambda column: column.importance)
        # Of equally important columns the last goes first.
        last = max(i for i, column in enumerate(kept) if column.importance == least.importance)
        del kept[last]
    return kept
