"""Whether what a study file names by import paths is there, found without importing any of it.

Importing a module of the user's runs it, and may take seconds: so only its source is read. What
that does not tell (names made when it is imported, modules without source) is left to the run.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path as FilePath

from lyapopt.study.file.document import Path, Plain, Report
from lyapopt.study.file.import_paths import is_import_path
from lyapopt.study.file.messages import did_you_mean

__all__ = ["check_named_objects"]

_CLASSES = ("sampler", "pruner")
_ONE = (("task", "build"), ("objective", "call"))
_CAUGHT = ("on_failure", "catch")
_DYNAMIC = ("globals", "exec", "__getattr__")  # a module with these has names that no one can see


def check_named_objects(report: Report, base_dir: FilePath | None) -> None:
    """Note the functions and classes of a study file that are not there.

    Args:
        report: Of the document; mistakes are added.
        base_dir: The folder of the study file, which modules are looked for in first.
    """
    folders = [str(each.resolve()) for each in (base_dir, FilePath.cwd()) if each is not None]
    before = list(sys.path)
    sys.path[:0] = folders  # as `import_object` does
    try:
        for path, text in _named(report.document.data, ()):
            _check(text, path, report, folders)
    finally:
        sys.path[:] = before


def _named(value: Plain, path: Path) -> Iterator[tuple[Path, str]]:
    """The import paths in a document, where a function or a class is named."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _named(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _named(inner, (*path, place))
    elif isinstance(value, str) and is_import_path(value):
        is_class = path[0] in _CLASSES and (path[-1] == "name" or len(path) == 1)
        is_one = path in _ONE or path[0] == "callbacks" or path[:-1] == _CAUGHT
        if is_class or is_one:
            yield path, value


def _check(text: str, path: Path, report: Report, folders: list[str]) -> None:
    module, _, name = text.partition(":")
    spec = None
    for part in range(module.count(".") + 1):
        so_far = ".".join(module.split(".")[: part + 1])
        if part and so_far in sys.modules:  # such as os.path, which is no file of a package
            return
        try:
            spec = _spec(so_far, spec)
        except (ImportError, ValueError, AttributeError, KeyError, OSError):
            return  # of a module that is loaded in another way nothing is known
        if spec is None:
            near = (
                did_you_mean(so_far.rpartition(".")[2], _neighbours(folders)) if not part else None
            )
            looked = f"looked in {', '.join(dict.fromkeys(folders))} and the installed packages"
            report.add(path, f"there is no module {so_far}", hint=near or looked)
            return
    assert spec is not None
    first = name.partition(".")[0]
    names = _names(spec, path, report)
    if names is None or first in names or _is_submodule(spec, first):
        return
    message = f"there is no {first} in {module} ({spec.origin})"
    report.add(path, message, hint=did_you_mean(first, names))


def _spec(name: str, parent: ModuleSpec | None) -> ModuleSpec | None:
    if parent is None:
        return find_spec(name)
    places = parent.submodule_search_locations
    return None if places is None else PathFinder.find_spec(name, list(places))


def _is_submodule(spec: ModuleSpec, name: str) -> bool:
    places = spec.submodule_search_locations
    return (
        places is not None and PathFinder.find_spec(f"{spec.name}.{name}", list(places)) is not None
    )


def _neighbours(folders: list[str]) -> list[str]:
    return [file.stem for folder in folders for file in FilePath(folder).glob("*.py")]


def _names(spec: ModuleSpec, path: Path, report: Report) -> set[str] | None:
    """The names that the source of a module binds; `None` if it may have others."""
    if spec.origin is None or not spec.origin.endswith(".py"):
        return None
    try:
        tree = ast.parse(FilePath(spec.origin).read_bytes())
    except SyntaxError as error:
        report.add(path, f"{spec.origin}:{error.lineno}: {error.msg}")
        return None
    except (OSError, ValueError, RecursionError):
        return None
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                found.add(name)
            case ast.Name(id=name):
                found.add(name)
            case ast.alias(name="*"):
                return None
            case ast.alias(name=name, asname=other):
                found.add(other or name.partition(".")[0])
    return None if found & {*_DYNAMIC} else found
