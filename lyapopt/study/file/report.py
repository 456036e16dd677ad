"""Collects the mistakes of one document by path, and knows which parts are already known bad."""

from __future__ import annotations

from typing import Literal

from lyapopt.study.file.document import Document, Path, dotted
from lyapopt.study.file.issues import Issue

__all__ = ["Report"]


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
