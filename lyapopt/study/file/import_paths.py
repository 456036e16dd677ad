"""Import paths, `package.module:name`: their form, what people write instead, and the object."""

from __future__ import annotations

import importlib
import linecache
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from lyapopt.errors import UserError
from lyapopt.study.file.messages import did_you_mean

__all__ = ["ImportPathError", "import_object", "import_path_hint", "is_import_path"]

_NAME = r"[A-Za-z_]\w*"
_IMPORT_PATH = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*")
_FILE = re.compile(rf"(?:\./)?((?:{_NAME}/)*{_NAME})\.py:({_NAME}(?:\.{_NAME})*)")
_DOTTED = re.compile(rf"({_NAME}(?:\.{_NAME})*)\.({_NAME})")


def is_import_path(text: str) -> bool:
    """Whether the text has the form of an import path.

    >>> is_import_path("mypackage.train:build"), is_import_path("mypackage/train.py:build")
    (True, False)
    """
    return len(text) < 500 and ".py:" not in text and _IMPORT_PATH.fullmatch(text) is not None


def import_path_hint(text: str) -> str | None:
    """What was probably meant by something that is no import path.

    >>> import_path_hint("mypackage/train.py:build")
    'did you mean mypackage.train:build?'
    >>> import_path_hint("mypackage.train.build()")
    'did you mean mypackage.train:build?'
    """
    if len(text) >= 500:
        return None
    text = text.strip().removesuffix("()").replace(": ", ":")
    if match := _FILE.fullmatch(text):
        return f"did you mean {match[1].replace('/', '.')}:{match[2]}?"
    if match := _DOTTED.fullmatch(text):
        return f"did you mean {match[1]}:{match[2]}?"
    return f"did you mean {text}?" if is_import_path(text) else None


class ImportPathError(UserError):
    """An import path of a study file that leads to no object."""


def import_object(import_path: str, base_dir: str | Path | None = None) -> Any:
    """Imports `package.module:name`, also from the study file's folder and the current one.

    Both folders are put in front of `sys.path`, as Python does with a script's folder, and they
    stay there: a module may import its neighbours later.

    Args:
        import_path: `package.module:name`; the name may be dotted (`module:Class.method`).
        base_dir: the folder of the study file.

    Raises:
        ImportPathError: no such module, the module raises when it is imported, no such name in it.

    Example:
        >>> import_object("math:hypot")(3, 4)
        5.0
    """
    module_name, colon, name = import_path.partition(":")
    if not colon or not module_name or not name:
        raise ImportPathError(f'"{import_path}" is not of the form package.module:name')
    folders = _extend_path(base_dir)
    found: Any = _import_module(module_name, import_path, folders)
    so_far = module_name
    for part in name.split("."):
        found = _attribute(found, part, import_path, so_far)
        so_far = f"{so_far}.{part}"
    return found


def _extend_path(base_dir: str | Path | None) -> list[str]:
    folders = [str(Path.cwd())]
    if base_dir is not None and str(Path(base_dir).resolve()) not in folders:
        folders.insert(0, str(Path(base_dir).resolve()))
    for folder in reversed(folders):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    importlib.invalidate_caches()
    return folders


def _import_module(name: str, import_path: str, folders: list[str]) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise ImportPathError(_raised(error, name, import_path)) from error
        message = f"{import_path}: there is no module {missing}"
        hint = did_you_mean(missing.rpartition(".")[2], _siblings(missing, folders))
        looked = f"looked in {', '.join(folders)} and the installed packages"
        raise ImportPathError("; ".join(filter(None, (message, hint, looked)))) from None
    except (Exception, SystemExit) as error:
        raise ImportPathError(_raised(error, name, import_path)) from error


def _siblings(missing: str, folders: list[str]) -> list[str]:
    parent, _, _ = missing.rpartition(".")
    places = folders
    if parent:
        places = list(getattr(sys.modules.get(parent), "__path__", []))
    names: set[str] = set()
    for place in places:
        for entry in Path(place).glob("*"):
            if entry.suffix == ".py" or (entry / "__init__.py").exists():
                names.add(entry.stem)
    return sorted(names)


def _attribute(holder: Any, name: str, import_path: str, so_far: str) -> Any:
    try:
        return getattr(holder, name)
    except AttributeError:
        known = [n for n in dir(holder) if not n.startswith("__")]
        where = f"{so_far} ({file})" if (file := getattr(holder, "__file__", None)) else so_far
        message = f"{import_path}: there is no {name} in {where}"
        hint = did_you_mean(name, known)
        raise ImportPathError("; ".join(filter(None, (message, hint)))) from None


def _raised(error: BaseException, module: str, import_path: str) -> str:
    """What the user's module raised, and on which of its lines."""
    head = f"{import_path}: importing {module} raised {type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{import_path}: {error.filename}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "importlib" not in f.filename and f.filename != __file__]
    if not own:
        return head
    last = own[-1]
    line = linecache.getline(last.filename, last.lineno or 0).strip()
    return f"{head}\n  {last.filename}:{last.lineno}: {line}"
