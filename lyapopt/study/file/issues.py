"""Mistakes in a study file: where each is, what it is, and the report a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lyapopt.errors import UserError
from lyapopt.redaction import redacted

__all__ = ["Issue", "Mark", "Source", "StudyFileError"]

_WIDTH = 96  # characters of a source line that a report shows
_SHOWN = 50  # issues of one file that a report spells out


@dataclass(frozen=True, eq=False)
class Source:
    """A text that values were read from: the study file, or one `--set` of the command line.

    Attributes:
        name: how a report calls it, the file's path as the user gave it.
        lines: the text, without line ends.
        rank: reports list sources in this order (the file first, then the overrides).
    """

    name: str
    lines: tuple[str, ...] = field(default=(), repr=False)
    rank: int = 0


@dataclass(frozen=True)
class Mark:
    """A character of a source; `line` and `column` count from 0, as YAML parsers do."""

    source: Source
    line: int
    column: int

    def __str__(self) -> str:
        """The place as editors and compilers write it, counted from 1; of `--set` just its name."""
        if self.source.rank:
            return self.source.name
        return f"{self.source.name}:{self.line + 1}:{self.column + 1}"


@dataclass(frozen=True)
class Issue:
    """One mistake: `path` is the key it is about (`search_space.lr.high`), empty for the file.

    `mark` is None where no text can be shown, as for a file that does not exist.
    """

    message: str
    mark: Mark | None = None
    path: str = ""
    hint: str | None = None

    def __str__(self) -> str:
        """The place, the message, the line with a caret under the place, the hint."""
        head = f"{self.path}: {self.message}" if self.path else self.message
        place = f"{self.mark}: " if self.mark is not None else ""
        lines = [_printable(redacted(place + head))]
        if self.mark is not None:
            lines += _excerpt(self.mark)
        if self.hint:
            lines.append(f"      {_printable(redacted(self.hint))}")
        return "\n".join(lines)

    def _order(self) -> tuple[int, int, int, str]:
        if self.mark is None:
            return (-1, 0, 0, self.message)
        return (self.mark.source.rank, self.mark.line, self.mark.column, self.message)


class StudyFileError(UserError):
    """A study file that cannot be used, with every mistake in it.

    Attributes:
        issues: the mistakes, by position: those of the file first, then those of `--set`.
    """

    def __init__(self, issues: Sequence[Issue]) -> None:
        unique = dict.fromkeys(issues)
        self.issues: tuple[Issue, ...] = tuple(sorted(unique, key=Issue._order))
        super().__init__(_report(self.issues))


def _report(issues: Sequence[Issue]) -> str:
    shown = [str(issue) for issue in issues[:_SHOWN]]
    if len(issues) > _SHOWN:
        shown.append(f"... and {len(issues) - _SHOWN} more mistakes")
    elif len(issues) > 1:
        shown.append(f"{len(issues)} mistakes")
    return "\n\n".join(shown)


def _excerpt(mark: Mark) -> list[str]:
    """The marked line, cut to a readable width around the mark, and a caret below it."""
    if mark.line >= len(mark.source.lines):
        return []
    line = redacted(mark.source.lines[mark.line])
    column = min(mark.column, len(line))
    start = max(0, column - _WIDTH * 2 // 3) if len(line) > _WIDTH else 0
    text = line[start : start + _WIDTH]
    before = "".join("\t" if c == "\t" else " " for c in text[: column - start])
    margin = " " * 5 + " | " if mark.source.rank else f"{mark.line + 1:>5} | "
    cut = "..." if start else ""
    more = "..." if start + _WIDTH < len(line) else ""
    return [
        margin + cut + _printable(text, keep="\t") + more,
        " " * (len(margin) - 2) + "| " + " " * len(cut) + before + "^",
    ]


def _printable(text: str, keep: str = "\n") -> str:
    """No control characters: a file must not be able to steer the terminal that shows it."""
    return "".join(c if c in keep or c.isprintable() else "\ufffd" for c in text)
