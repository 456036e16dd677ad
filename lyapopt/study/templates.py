"""Study files to start from: those that ship, under the user's own name."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.shipped import shipped
from lyapopt.study.file import json_schema_text

__all__ = ["SCHEMA", "Template", "check_name", "template_files", "write_files"]

SCHEMA = "study.schema.json"
"""Name of the schema beside a study file, as the file's first line says it to editors."""


class Template(StrEnum):
    """What a new study file is about."""

    XOR = "xor"
    DIGITS = "digits"
    CUSTOM = "custom"


_FILES = {
    Template.XOR: ("xor.yaml",),
    Template.DIGITS: ("digits.yaml",),
    Template.CUSTOM: ("own_network.yaml", "own_network.py"),
}


def template_files(template: Template, path: Path) -> dict[Path, str]:
    """The files of a template, the study file first.

    Args:
        template: Which one.
        path: Where the study file goes; what belongs to it goes beside it.

    Raises:
        UserError: If the name does not end as a study file's does.

    Example:
        >>> list(map(str, template_files(Template.CUSTOM, Path("study.yaml"))))
        ['study.yaml', 'own_network.py', 'study.schema.json']
    """
    check_name(path)
    study, *others = _FILES[template]
    text = (shipped("studies") / study).read_text(encoding="utf-8")
    files = {path: text.replace(f"studies/{study}", path.as_posix())}
    for name in others:
        files[path.with_name(name)] = (shipped("studies") / name).read_text(encoding="utf-8")
    files[path.with_name(SCHEMA)] = json_schema_text()
    return files


def check_name(path: Path) -> None:
    """Refuse a name that does not end as a study file's does.

    Raises:
        UserError: If so.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise UserError(f"{one_line(path)} is no name of a study file: let it end in .yaml")


def write_files(files: Mapping[Path, str], *, replace: bool = False) -> list[Path]:
    """Write files that are not there yet, all or none.

    Args:
        files: Text by path.
        replace: Whether those that are there with another text are replaced.

    Returns:
        Those that were written; one that has its text already is left as it is.

    Raises:
        UserError: If one is there with another text, or cannot be written.
    """
    there = {path for path in files if path.exists()}
    same = {path for path in there if path.is_file() and _text(path) == files[path]}
    if (others := sorted(there - same)) and not replace:
        names = ", ".join(one_line(path) for path in others)
        raise UserError(
            f"{names} {'is' if len(others) == 1 else 'are'} there already; give another name "
            "(lyapopt init other.yaml), or --force to replace"
        )
    new = [path for path in files if path not in same]
    for path in new:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
        except OSError as error:
            raise UserError(f"{one_line(path)} cannot be written: {error.strerror}") from error
    return new


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
