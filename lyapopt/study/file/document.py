"""A YAML text as plain Python data, with the place of every key and value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lyapopt.study.file.issues import Issue, Mark

__all__ = ["Document", "Path", "Place", "dotted"]

Path = tuple[str | int, ...]


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

    data: Any
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

    def get(self, path: Path, default: Any = None) -> Any:
        """The data at `path`, or `default` if there is none."""
        data = self.data
        for part in path:
            inside = isinstance(data, dict) and part in data
            inside = inside or (
                isinstance(data, list) and isinstance(part, int) and 0 <= part < len(data)
            )
            if not inside:
                return default
            data = data[part]
        return data

    def put(self, path: Path, other: Document, key: Mark) -> None:
        """Replaces (or adds) what is at `path` by another document's root.

        Raises:
            KeyError: what should hold `path` is no mapping or list, or a list has no such index.
        """
        holder: Any = self.data
        for end, part in enumerate(path[:-1]):
            if isinstance(holder, dict) and holder.get(str(part)) is None:
                holder[part] = {}
                self.places[path[: end + 1]] = Place(value=key, key=key)
            holder = _child(holder, part)
        last = path[-1]
        if not isinstance(holder, dict):
            _child(holder, last)
        holder[last] = other.data
        for old in [p for p in self.places if p[: len(path)] == path]:
            del self.places[old]
        for inner, place in other.places.items():
            self.places[path + inner] = place if inner else Place(place.value, key)
        self.broken = {p for p in self.broken if p[: len(path)] != path}
        self.broken |= {path + inner for inner in other.broken}
        self.issues += other.issues


def _child(holder: Any, part: str | int) -> Any:
    if isinstance(holder, dict) and part in holder:
        return holder[part]
    if isinstance(holder, list) and isinstance(part, int) and part < len(holder):
        return holder[part]
    raise KeyError(part)


def without(data: Any, paths: Iterable[Path]) -> Any:
    """A copy of the data in which nothing stands at `paths`; items of lists become None."""
    copy = _copy(data)
    for path in paths:
        holder = copy
        try:
            for part in path[:-1]:
                holder = _child(holder, part)
        except KeyError:
            continue
        if isinstance(holder, dict):
            holder.pop(path[-1], None)
        elif isinstance(holder, list) and isinstance(path[-1], int) and path[-1] < len(holder):
            holder[path[-1]] = None
    return copy


def _copy(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _copy(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_copy(item) for item in data]
    return data
