"""Dashboard files: those that are shipped, and those of users."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lyapopt.errors import UserError
from lyapopt.shipped import shipped
from lyapopt.study.file.load import read_yaml_file
from lyapopt.study.file.messages import nearest
from lyapopt.web.layouts.checks import check_layout
from lyapopt.web.layouts.model import Layout

__all__ = ["DEFAULT", "find_layout", "load_layout", "shipped_layouts"]

DEFAULT: Final = "overview"
"""The dashboard that is shown where none is named."""

_KIND: Final = "a dashboard file"


def load_layout(path: str | Path) -> Layout:
    """Read a dashboard file and check all of it.

    Args:
        path: The YAML file.

    Raises:
        StudyFileError: With every mistake of the file, each with line, column and advice.
    """
    begin = "dashboards/overview.yaml is one to start from"
    return check_layout(read_yaml_file(path, kind=_KIND, begin=begin), Path(path).stem)


def shipped_layouts() -> dict[str, Layout]:
    """The dashboards that come with lyapopt, by name, the default first.

    Example:
        >>> next(iter(shipped_layouts()))
        'overview'
    """
    files = {path.stem: path for path in sorted(shipped("dashboards").glob("*.yaml"))}
    order = [DEFAULT, *(name for name in files if name != DEFAULT)]
    return {name: load_layout(files[name]) for name in order}


def find_layout(text: str | None) -> Layout | None:
    """The dashboard that an option means: the name of a shipped one, or the path of a file.

    Raises:
        UserError: If it is neither; StudyFileError if the file has mistakes.
    """
    if text is None:
        return None
    if "/" in text or text.endswith((".yaml", ".yml")):
        return load_layout(text)
    known = shipped_layouts()
    if text in known:
        return known[text]
    near = nearest(text, known)
    advice = f"did you mean {near}?" if near else f"there are: {', '.join(known)}"
    raise UserError(f"--layout {text}: no such dashboard; {advice} A file ends in .yaml")
