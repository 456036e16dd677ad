"""From another tool's file to a study file."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.study.convert.carried import Converted
from lyapopt.study.convert.hydra import from_hydra
from lyapopt.study.convert.nni import from_nni, is_nni
from lyapopt.study.convert.wandb import from_wandb
from lyapopt.study.file import json_schema_text
from lyapopt.study.file.document import Plain
from lyapopt.study.file.load import read_yaml_file
from lyapopt.study.templates import SCHEMA, check_name
from lyapopt.yaml_text import yaml_lines

__all__ = ["converted", "converted_files"]

_TRIALS = 50
_KIND = "a file of another tool"
_BEGIN = "W&B sweeps, NNI search spaces and Hydra sweeps can be converted"
_WIDTH = 96


def converted_files(source: Path, path: Path) -> tuple[Converted, dict[Path, str]]:
    """A study file of another tool's file, with the schema beside it.

    Args:
        source: The other tool's file.
        path: Where the study file goes.

    Raises:
        UserError: If the source cannot be read, or `path` is no name of a study file.
    """
    check_name(path)
    found = converted(source)
    text = _study_text(found, source, path)
    return found, {path: text, path.with_name(SCHEMA): json_schema_text()}


def converted(path: Path) -> Converted:
    """Read another tool's file.

    Raises:
        UserError: If it cannot be read, or is of none of these tools.
    """
    data = _data(path)
    assert isinstance(data, dict)
    if "search_space" in data and "storage" in data:
        raise UserError(f"{one_line(path)} is a study file already: see lyapopt validate")
    try:
        found = _read(path, data)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"{one_line(path)} is not what such a file looks like ({what})") from error
    if found is None:
        raise UserError(
            f"{one_line(path)} is no W&B sweep (parameters:), NNI search space (_type, _value) or "
            "Hydra sweep (hydra.sweeper.params:)"
        )
    return found


def _data(path: Path) -> Plain:
    return read_yaml_file(path, kind=_KIND, begin=_BEGIN).data


def _read(path: Path, data: dict[str, Any]) -> Converted | None:
    """What the tool says, whose file it is by its keys."""
    hydra = data.get("hydra")
    if isinstance(hydra, dict) and "sweeper" in hydra:
        return from_hydra(hydra["sweeper"], data)
    if isinstance(data.get("parameters"), dict):
        return from_wandb(data)
    space: Any = data.get("searchSpace", data.get("search_space"))
    if space is None and "searchSpaceFile" in data:
        space = _data(path.parent / str(data["searchSpaceFile"]))
    if space is None and data and all(is_nni(value) for value in data.values()):
        data, space = {}, data
    if isinstance(space, dict) and any(is_nni(value) for value in space.values()):
        return from_nni(data, space)
    return None


def _study_text(found: Converted, source: Path, path: Path) -> str:
    """The study file that another tool's file becomes, with what could not be carried over.

    Args:
        found: What was read.
        source: The other tool's file.
        path: Where the study file goes.
    """
    name = str(found.settings.get("study_name", path.stem))
    head = [f"# yaml-language-server: $schema=./{SCHEMA}", "#"]
    head += _comment(f"Converted from {source.name} ({found.tool}).")
    if found.left:
        head += _comment("What could not be carried over:")
        head += [line for text in found.left for line in _comment(f"- {text}")]
    data: dict[str, Any] = {
        "version": 1,
        "study_name": name,
        "storage": found.settings.get("storage", f"sqlite:///runs/{_file_name(name)}.db"),
        "seed": 0,
        "task": {"build": f"{found.module}:build"},
        "search_space": found.space,
        "n_trials": _TRIALS,
        **found.settings,
    }
    lines = yaml_lines(data)
    place = lines.index("task:") + 1
    lines[place] += "    # your build(params) -> lyapopt.Training: lyapopt init -t custom has one"
    return "\n".join([*head, *lines]) + "\n"


def _comment(text: str) -> list[str]:
    wrapped = textwrap.wrap(one_line(text), _WIDTH, subsequent_indent="  ")
    return [f"# {line}" for line in wrapped]


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "study"
