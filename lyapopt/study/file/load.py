"""`load_study_file`: reads, overrides, validates, and reports every mistake at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from lyapopt.study.file.check_space import SPACE_CHECKS
from lyapopt.study.file.check_study import STUDY_CHECKS
from lyapopt.study.file.document import Document, Path, Report, StudyFileError, without
from lyapopt.study.file.model import StudyFile
from lyapopt.study.file.overrides import apply_overrides
from lyapopt.study.file.reading import read_yaml_file
from lyapopt.study.file.wording import report_validation

__all__ = ["load_study_file", "validate"]

_PLACEHOLDERS = {"storage": "sqlite:///placeholder.db"}


def load_study_file(path: str | FilePath, overrides: Sequence[str] = ()) -> StudyFile:
    """Reads a study file and checks everything that can be checked without running it.

    Neither Optuna nor torch is imported, and the storage is not touched.

    Args:
        path: the YAML file.
        overrides: `key=value` texts that replace values of the file, as `--set` does.

    Raises:
        StudyFileError: with every mistake of the file, each with line, column and advice.
    """
    document = read_yaml_file(path)
    apply_overrides(document, overrides)
    study = check_document(document, default_name=FilePath(path).stem)
    study._source = FilePath(path)
    return study


def validate(path: str | FilePath, overrides: Sequence[str] = ()) -> StudyFile:
    """What `lyapopt validate` does: the same as `load_study_file`."""
    return load_study_file(path, overrides)


def check_document(document: Document, default_name: str = "study") -> StudyFile:
    """The study that a document describes.

    Raises:
        StudyFileError: with every mistake of the document.
    """
    report = Report(document)
    data = without(document.data, [_prunable(path) for path in document.broken])
    data.setdefault("study_name", default_name or "study")
    study = _validated(data, report)
    if study is not None:
        for check in (*SPACE_CHECKS, *STUDY_CHECKS):
            check(study, report)
    if report.issues or study is None:
        raise StudyFileError(report.issues)
    return study


def _validated(data: dict[str, Any], report: Report) -> StudyFile | None:
    """Validates; what is wrong is reported and left out, so that the rest can be checked too.

    Leaving out a value may bring up a follow-up error (an entry without its `high`). The report
    drops those, since it knows the path already.
    """
    for attempt in range(6):
        try:
            return StudyFile.model_validate(data, context=report)
        except ValidationError as error:
            paths = report_validation(error, report)
            details = error.errors(include_url=False, include_context=False, include_input=False)
            missing = [detail["type"] == "missing" for detail in details]
            data = _left_out(data, paths, missing, whole=attempt >= 3)
    return None


def _left_out(
    data: dict[str, Any], paths: list[Path], missing: list[bool], whole: bool
) -> dict[str, Any]:
    removed = []
    for path, absent in zip(paths, missing, strict=True):
        path = path[:1] if whole else _prunable(path)
        removed.append(path[:-1] if absent and len(path) > 1 else path)
    smaller: dict[str, Any] = without(data, [path for path in removed if path])
    for name, value in _PLACEHOLDERS.items():
        if name not in smaller:
            smaller[name] = value
    return smaller


def _prunable(path: Path) -> Path:
    """The largest part of a path that does not go into a list: lists are left out whole."""
    for end, part in enumerate(path):
        if isinstance(part, int):
            return path[:end]
    return path
