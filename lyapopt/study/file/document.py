"""A YAML text as plain Python data with the place of every part, and the mistakes found in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from lyapopt.display import one_line, printable
from lyapopt.errors import UserError
from lyapopt.redaction import redacted

__all__ = [
    "Document",
    "Issue",
    "Mark",
    "Path",
    "Place",
    "Plain",
    "Report",
    "Scalar",
    "Source",
    "StudyFileError",
    "dotted",
    "without",
]

Scalar: TypeAlias = bool | int | float | str | None
Plain: TypeAlias = "Scalar | list[Plain] | dict[str, Plain]"
"""What YAML can say, as JSON has it."""
Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead from the root to a part of a document."""

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
        lines = [one_line(place + head)]
        if self.mark is not None:
            lines += _excerpt(self.mark)
        if self.hint:
            lines.append(f"      {one_line(self.hint)}")
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
    shown = printable(text[: column - start], keep="\t")
    before = "".join("\t" if c == "\t" else " " for c in shown)
    margin = " " * 5 + " | " if mark.source.rank else f"{mark.line + 1:>5} | "
    cut = "..." if start else ""
    more = "..." if start + _WIDTH < len(line) else ""
    return [
        margin + cut + printable(text, keep="\t") + more,
        " " * (len(margin) - 2) + "| " + " " * len(cut) + before + "^",
    ]


def dotted(path: Path) -> str:
    """A path in the words of the file.

    >>> dotted(("enqueue", 0, "lr"))
    'enqueue[0].lr'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


@dataclass(frozen=True)
class Place:
    """Where a value stands, and where its key does (None for the root and for items of a list)."""

    value: Mark
    key: Mark | None = None


@dataclass
class Document:
    """Plain data (`dict`, `list`, `str`, `int`, `float`, `bool`, None) and where each part is.

    Attributes:
        data: the root value.
        places: where each value stands.
        issues: mistakes found while reading.
        broken: paths of the values that those mistakes are about: further checks leave them alone.
    """

    data: Plain
    places: dict[Path, Place] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)

    def place(self, path: Path) -> Place | None:
        """The place of `path`, or of the nearest part around it that stands in the file."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return None

    def mark(self, path: Path, at: str = "value") -> Mark | None:
        """Where to put a caret for `path`: at its value, or with `at="key"` at its key.

        A path that does not stand in the file (a key that is missing) is marked at the key of what
        should hold it.
        """
        place = self.place(path)
        if place is None:
            return None
        if place.key is not None and (at == "key" or path not in self.places):
            return place.key
        return place.value

    def get(self, path: Path, default: Plain = None) -> Plain:
        """The data at `path`, or `default` if there is none."""
        data = self.data
        for part in path:
            try:
                data = _child(data, part)
            except KeyError:
                return default
        return data

    def put(self, path: Path, other: Document, key: Mark) -> None:
        """Replaces (or adds) what is at `path` by another document's root.

        Raises:
            KeyError: what should hold `path` is no mapping or list, or a list has no such index.
        """
        holder = self.data
        for end, part in enumerate(path[:-1]):
            if isinstance(holder, dict) and holder.get(str(part)) is None:
                holder[str(part)] = {}
                self.places[path[: end + 1]] = Place(value=key, key=key)
            holder = _child(holder, part)
        if isinstance(holder, dict):
            holder[str(path[-1])] = other.data
        else:
            _set_item(holder, path[-1], other.data)
        for old in [p for p in self.places if p[: len(path)] == path]:
            del self.places[old]
        for inner, place in other.places.items():
            self.places[path + inner] = place if inner else Place(place.value, key)
        self.broken = {p for p in self.broken if p[: len(path)] != path}
        self.broken |= {path + inner for inner in other.broken}
        self.issues += other.issues


def _child(holder: Plain, part: str | int) -> Plain:
    if isinstance(holder, dict) and isinstance(part, str) and part in holder:
        return holder[part]
    if isinstance(holder, list) and isinstance(part, int) and 0 <= part < len(holder):
        return holder[part]
    raise KeyError(part)


def _set_item(holder: Plain, index: str | int, value: Plain) -> None:
    _child(holder, index)
    if isinstance(holder, list) and isinstance(index, int):
        holder[index] = value


def without(data: dict[str, Plain], paths: Iterable[Path]) -> dict[str, Plain]:
    """A copy of the data in which nothing stands at `paths`; items of lists become None."""
    copy = deepcopy(data)
    for path in paths:
        holder: Plain = copy
        with suppress(KeyError):  # something around it is left out already
            for part in path[:-1]:
                holder = _child(holder, part)
            if isinstance(holder, dict):
                holder.pop(str(path[-1]), None)
            else:
                _set_item(holder, path[-1], None)
    return copy


class Report:
    """The mistakes of one document.

    Attributes:
        document: what is checked.
        issues: the mistakes so far.
        broken: paths that some mistake is about.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.issues: list[Issue] = list(document.issues)
        self.broken: set[Path] = set(document.broken)

    def add(
        self,
        path: Path,
        message: str,
        *,
        hint: str | None = None,
        at: Literal["value", "key"] = "value",
    ) -> None:
        """Notes a mistake at `path`, unless one at the same path or around it is known already."""
        if any(path[:end] in self.broken for end in range(1, len(path) + 1)):
            return
        mark = self.document.mark(path, at)
        self.issues.append(Issue(message, mark, dotted(path), hint))
        self.broken.add(path)

    def sound(self, *paths: Path) -> bool:
        """Whether no mistake is known at, inside or around any of these paths."""
        return not any(
            bad[: len(path)] == path or path[: len(bad)] == bad
            for path in paths
            for bad in self.broken
        )
