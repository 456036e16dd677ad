"""`python -m lyapopt.study.file.write_signatures`: writes `signature_table.py` anew.

To be run when a constructor changes, or with the version of Optuna that the table is to be of.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, get_origin

from lyapopt.registry import REGISTRY, Row

_HEAD = '''"""Constructors of the classes in the registry, a keyword a line.

Written by `python -m lyapopt.study.file.write_signatures`; do not edit.
"""
# ruff: noqa: E501
'''


def signature_table() -> str:
    """The text of the table for the installed Optuna and our own classes, which are imported."""
    lines = [_HEAD, f'OPTUNA = "{metadata.version("optuna")}"', "", "SIGNATURES = {"]
    for row in (row for rows in REGISTRY.values() for row in rows):
        written = [f"        {line}," for line in _keywords(row)]
        lines += [f'    "{row.import_path}": """', *written, '    """,']
    return "\n".join([*lines, "}", ""])


def _keywords(row: Row) -> list[str]:
    module = importlib.import_module(row.import_path.partition(":")[0])
    cls = getattr(module, row.class_name)
    names = vars(sys.modules[cls.__module__])
    keywords = [_keyword(p, names) for p in inspect.signature(cls).parameters.values()]
    return ["*", *keywords] if keywords else []


def _keyword(parameter: inspect.Parameter, names: Mapping[str, Any]) -> str:
    """A parameter as Python has it; `...` stands for a default that is no plain value."""
    annotation = inspect.formatannotation(parameter.annotation).strip("\"'")
    # Our names for types of functions say nothing to who reads the table without their modules.
    annotation = re.sub(
        r"\w+", lambda m: "Callable" if _is_callable(names.get(m[0])) else m[0], annotation
    )
    default = parameter.default
    if parameter.kind is parameter.VAR_KEYWORD:
        return f"**{parameter.name}: {annotation}"
    if default is parameter.empty:
        return f"{parameter.name}: {annotation}"
    plain = isinstance(default, bool | int | float | str | None)
    return f"{parameter.name}: {annotation} = {repr(default) if plain else '...'}"


def _is_callable(annotation: Any) -> bool:
    return get_origin(annotation) is get_origin(Callable[[], None])


if __name__ == "__main__":
    Path(__file__).with_name("signature_table.py").write_text(signature_table(), encoding="utf-8")
