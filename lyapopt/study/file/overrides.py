"""`--set key=value`: replaces values of a study file, with errors that point into the override."""

from __future__ import annotations

from collections.abc import Sequence

from lyapopt.redaction import redacted
from lyapopt.study.file.document import Document, Issue, Mark, Path, Source, StudyFileError
from lyapopt.study.file.reading import parse_yaml, split_lines

__all__ = ["apply_overrides"]

_NAMED = ("sampler", "pruner", "base", "wrapped", "base_sampler", "wrapped_pruner", "task")


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Sets the values in the document, in order; mistakes go to its `.issues`.

    Args:
        document: the study file.
        overrides: texts such as `seed=1`, `search_space.lr.high=1`, `enqueue.0.lr=0.1`. Values are
            YAML. A sampler that the file only names becomes a mapping when an argument is set.
    """
    for rank, override in enumerate(overrides, start=1):
        source = Source(f"--set {redacted(override)[:60]}", split_lines(override), rank)
        try:
            _apply(document, override, source)
        except StudyFileError as error:
            document.issues += error.issues


def _apply(document: Document, override: str, source: Source) -> None:
    start = Mark(source, 0, 0)
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        hint = "for example --set n_trials=20 or --set sampler.target=0.01"
        raise StudyFileError([Issue("expected key=value", start, hint=hint)])
    value = parse_yaml(text, source, column=len(key) + 1)
    path = _path(key.strip(), document)
    if not all(part != "" for part in path):
        raise StudyFileError([Issue("a dot too many in the key", start)])
    _name_to_mapping(document, path)
    try:
        document.put(path, value, start)
    except KeyError as error:
        message = f"there is nothing in the file that could hold {key.strip()}"
        hint = f"{error.args[0]} is not in a mapping or a list there"
        raise StudyFileError([Issue(message, start, hint=hint)]) from None


def _path(key: str, document: Document) -> Path:
    """Dotted key -> path; numbers are indices where the document has a list."""
    path: Path = ()
    for part in key.replace("[", ".").replace("]", "").split("."):
        here = document.get(path)
        index = isinstance(here, list) and part.isdecimal() and len(part) < 6
        path = (*path, int(part) if index else part)
    return path


def _name_to_mapping(document: Document, path: Path) -> None:
    """`sampler: edge-of-chaos` becomes `{name: edge-of-chaos}` when `sampler.target` is set."""
    for end in range(1, len(path)):
        held = document.get(path[:end])
        if path[end - 1] in _NAMED and isinstance(held, str):
            place = document.place(path[:end])
            holder = document.get(path[: end - 1])
            holder[path[end - 1]] = {"name": held}
            if place is not None:
                document.places[(*path[:end], "name")] = place
