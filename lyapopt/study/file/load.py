"""`load_study_file`: reads, overrides, validates, and reports every mistake at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path as FilePath
from typing import Any

from lyapopt.checks import Arguments
from lyapopt.errors import UserError
from lyapopt.redaction import redacted
from lyapopt.study.file.document import (
    Document,
    Issue,
    Mark,
    Path,
    Report,
    Source,
    StudyFileError,
    dotted,
)
from lyapopt.study.file.model import StudyFile
from lyapopt.study.file.named_objects import check_named_objects
from lyapopt.study.file.reading import parse_yaml, split_lines
from lyapopt.study.file.validation import check_document

__all__ = ["load_study_file", "mistake", "study_of_definition"]

_MAX_BYTES = 1_000_000
_BEGIN = "`lyapopt init` writes one to start from"


def load_study_file(
    path: str | FilePath, overrides: Sequence[str] = (), *, named_objects: bool = False
) -> StudyFile:
    """Reads a study file and checks everything that can be checked without running it.

    Neither Optuna nor torch is imported, and the storage is not touched.

    Args:
        path: the YAML file.
        overrides: `key=value` texts that replace values of the file, as `--set` does.
        named_objects: Whether to look for the functions and classes that it names by import paths,
            too. Their modules are read, and not imported.

    Raises:
        StudyFileError: with every mistake of the file, each with line, column and advice.
    """
    check = Arguments("load_study_file")
    check.instance("path", path, (str, PathLike), "the path of a YAML file")
    texts = "a list of texts such as ['seed=1']"
    is_list = isinstance(overrides, Sequence) and not isinstance(overrides, str | bytes)
    if not (is_list and all(isinstance(text, str) for text in overrides)):
        check.refuse("overrides", overrides, texts)
    document = read_yaml_file(path)
    apply_overrides(document, overrides)
    if named_objects:
        report = Report(document)
        check_named_objects(report, FilePath(path).parent)
        document.issues = report.issues  # their form is right, so that nothing else is wrong
    study = check_document(document, default_name=FilePath(path).stem)
    study._source, study._written = FilePath(path), _plain_mapping(document)
    return study


def study_of_definition(text: str, storage: str, store: str | None = None) -> StudyFile:
    """The study that `StudyFile.definition` has kept, with another place for its results.

    Args:
        text: The definition.
        storage: URL of Optuna's storage.
        store: URL of our own database, where it is another.

    Raises:
        UserError: If it is damaged, or of a version that this one does not read.
    """
    try:
        kept = json.loads(text)
        data, source = kept["file"], kept["source"]
    except (ValueError, TypeError, LookupError) as error:
        raise UserError(f"what is kept of the study file cannot be read: {error}") from error
    data = {**data, "storage": storage, **({} if store is None else {"store": store})}
    document = Document(data)
    study = check_document(document, default_name="study")
    study._source, study._written = None if source is None else FilePath(source), data
    return study


def mistake(study: StudyFile, path: Path, message: str) -> StudyFileError:
    """What turns out to be wrong with a value of a file later, shown where it stands in it.

    Args:
        study: The study of the file.
        path: The keys that lead to the value.
        message: What is wrong.
    """
    mark = None
    if study.source is not None:
        with suppress(StudyFileError):  # it has been changed since, or deleted
            document = read_yaml_file(study.source)
            written = Document(dict(study._written or {}))
            if path in document.places and document.get(path) == written.get(path):
                mark = document.mark(path)
    return StudyFileError([Issue(message, mark, dotted(path))])


def _plain_mapping(document: Document) -> dict[str, Any] | None:
    data: Any = document.data
    return data if isinstance(data, dict) else None


# the file


def read_yaml_file(
    path: str | FilePath, *, kind: str = "a study file", begin: str = _BEGIN
) -> Document:
    """Reads a YAML 1.2 file whose root is a mapping.

    Args:
        path: the file.
        kind: what messages call it.
        begin: the hint of messages that there is nothing to read.

    Raises:
        StudyFileError: there is no such file, or it cannot be read, is empty, not UTF-8, not YAML.
            Lesser mistakes are in the document's `.issues`.
    """
    name = str(path)
    text = _decode(_read_bytes(FilePath(path), name, kind, begin), name)
    source = Source(name, split_lines(text))
    document = parse_yaml(text, source)
    if isinstance(document.data, dict) and (document.data or document.issues):
        return document
    start = Mark(source, 0, 0)
    if document.data is None or document.data == {}:
        raise StudyFileError([Issue("the file is empty", start, hint=begin)])
    what = "a list" if isinstance(document.data, list) else "a single value"
    message = f"{kind} is a mapping of keys to values, this one is {what}"
    raise StudyFileError([Issue(message, document.mark(()), hint=begin)])


def _read_bytes(path: FilePath, name: str, kind: str, begin: str) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        others = _yaml_files(path)
        hint = f"in that folder there are: {', '.join(others)}" if others else begin
        raise StudyFileError([Issue(f"{name}: no such file", hint=hint)]) from None
    except IsADirectoryError:
        others = _yaml_files(path / "any")
        hint = f"in it there are: {', '.join(others)}" if others else "name a file in it"
        raise StudyFileError([Issue(f"{name}: a folder, not {kind}", hint=hint)]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyFileError([Issue(f"{name}: cannot be read ({reason})")]) from None
    if len(content) > _MAX_BYTES:
        message = f"{name}: larger than {_MAX_BYTES // 1000} kB: not {kind}"
        raise StudyFileError([Issue(message)])
    return content


def _yaml_files(path: FilePath) -> list[str]:
    try:
        found = sorted(p.name for p in path.parent.iterdir() if p.suffix in (".yaml", ".yml"))
    except (OSError, ValueError):
        return []
    return found[:8]


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1)
        text = content.decode("utf-8", errors="replace")
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        found = "it looks like UTF-16" if utf16 else f"byte 0x{content[error.start]:02x}"
        source = Source(name, () if utf16 else split_lines(text))
        message = f"not UTF-8 ({found})"
        issue = Issue(message, Mark(source, line, column), hint="save the file as UTF-8")
        raise StudyFileError([issue]) from None


# --set

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
            assert isinstance(holder, dict)
            holder[str(path[end - 1])] = {"name": held}
            if place is not None:
                document.places[(*path[:end], "name")] = place
