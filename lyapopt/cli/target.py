"""STORAGE on the command line: a URL, a database file, or a study file; and the study in it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from lyapopt.cli.text import echo
from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.store import RecordNotFoundError
from lyapopt.store.errors import masked
from lyapopt.store.urls import sqlite_url
from lyapopt.study.analysis.overview import StoredStudy, keeps_file, load_study, names_of_studies
from lyapopt.study.analysis.promoted import is_promoted, promoted_study

_SQLITE_BEGINS = b"SQLite format 3\0"
_STUDY_FILES = (".yaml", ".yml")
_EXPECTED = "a storage URL (sqlite:///runs/study.db), a database file, or a study file"
_SHOWN = 20
_DAMAGE_SHOWN = 5


@dataclass(frozen=True)
class Target:
    """Where a study is.

    Attributes:
        storage: URL of Optuna's storage.
        study_name: Name of the study, if that is known.
        store: URL of our own database, where it is not Optuna's.
        file: The study file that says so, if one was given.
    """

    storage: str
    study_name: str | None = None
    store: str | None = None
    file: Path | None = None


def target_of(text: str, study_name: str | None = None) -> Target:
    """The target that an argument means.

    Args:
        text: A storage URL, the path of a SQLite file, or the path of a study file.
        study_name: From `--study`; goes before the one of a study file.

    Raises:
        UserError: If it is none of these.
    """
    if "://" in text:
        return Target(text, study_name)
    if not text.strip():
        raise UserError(f"STORAGE is empty; give {_EXPECTED}")
    path = Path(text)
    if path.suffix.lower() in _STUDY_FILES:
        # Imported here: 0.3 s that other arguments do not need.
        from lyapopt.study.file import load_study_file

        file = load_study_file(path)
        return Target(file.storage, study_name or file.study_name, file.store, path)
    if not path.exists():
        raise UserError(f"there is no file {one_line(text)}; give {_EXPECTED}")
    if path.is_dir():
        raise UserError(
            f"{one_line(text)} is a folder; give a database file in it, or a study file"
        )
    with path.open("rb") as opened:
        begin = opened.read(len(_SQLITE_BEGINS))
    if begin and begin != _SQLITE_BEGINS:
        raise UserError(f"{one_line(text)} is neither a SQLite database nor a study file (.yaml)")
    return Target(sqlite_url(path), study_name)


def with_study(target: Target) -> tuple[Target, str]:
    """The target with the name of its study: the only one, if none was named.

    Raises:
        UserError: If there are several, or none.
    """
    if target.study_name is not None:
        return target, target.study_name
    names = names_of_studies(target.storage)
    known = {*names}
    searches = [name for name in names if not is_promoted(name, known)]
    if len(searches) == 1:
        return target, searches[0]
    if not names:
        raise UserError("this storage holds no study yet")
    shown = [f"  {one_line(name)}" for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        shown.append(f"  ... and {len(names) - _SHOWN} more")
    listed = "\n".join(shown)
    raise UserError(f"this storage holds {len(names)} studies; say which, --study NAME:\n{listed}")


def stored_study(text: str, study_name: str | None) -> StoredStudy:
    """What is stored of the study that STORAGE and `--study` mean.

    Raises:
        UserError: If there is no such study.
    """
    return _stored(target_of(text, study_name), study_name is not None)


def best_study(text: str, study_name: str | None) -> StoredStudy:
    """The same, or the study in which its best trials were trained in full, if one was completed.

    Raises:
        UserError: If there is no such study.
    """
    target, name = with_study(target_of(text, study_name))
    return promoted_of(target, name) or _stored(target, study_name is not None)


def promoted_of(target: Target, name: str) -> StoredStudy | None:
    """The study of the promoted trials of a study, if there is one with a completed trial.

    Args:
        target: Where the study is.
        name: Its name.
    """
    study = promoted_study(target.storage, name, target.store)
    if study is not None:
        _say_damage(study)
    return study


def replay_command(text: str, study_name: str, number: int) -> str:
    """What trains a trial again, to be pasted.

    Args:
        text: STORAGE, as it was given.
        study_name: Name of the study.
        number: The trial's.
    """
    study = ["--study", study_name]
    return shlex.join(["lyapopt", "replay", masked(text), *study, "--trial", str(number)])


def is_replayable(text: str, study_name: str) -> bool:
    """Whether `replay_command` would find a file: one is given, or the study keeps its own.

    Args:
        text: STORAGE, as it was given.
        study_name: Name of the study.
    """
    target = target_of(text)
    return target.file is not None or keeps_file(target.storage, study_name)


def _stored(target: Target, is_named: bool) -> StoredStudy:
    target, name = with_study(target)
    try:
        study = load_study(target.storage, name, target.store)
    except RecordNotFoundError as error:
        if target.file is None or is_named:
            raise
        advice = f"to run the study: lyapopt run {one_line(target.file)}"
        raise UserError(f"{error}\n{advice}") from error
    _say_damage(study)
    return study


def _say_damage(study: StoredStudy) -> None:
    """Say on stderr what of a study cannot be read, and is left out of what is shown."""
    for text in study.damage[:_DAMAGE_SHOWN]:
        echo(f"damaged: {one_line(text)}", err=True)
    more = len(study.damage) - _DAMAGE_SHOWN
    if more > 0:
        echo(f"damaged: and {more} more; all of them: lyapopt storage doctor", err=True)
