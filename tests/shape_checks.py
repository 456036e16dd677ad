"""Shapes in signatures (`Float[Tensor, "systems trajectories dim"]`) are checked while tests run.

jaxtyping's own import hook wraps every function and checks every call, which takes longer than a
step of a small stack. This one wraps those with a shape in their signature, and checks a call once
for every object and all shapes of its arguments.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Callable, Hashable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from beartype import beartype
from jaxtyping import AbstractArray, AbstractDtype, jaxtyped
from torch import Tensor


def check_shapes_in(*packages: str) -> None:
    """Check the shapes of packages that are imported from here on."""
    sys.meta_path.insert(0, _Finder(packages))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that checks its types, if a shape is among them."""
    hints = " ".join(map(str, function.__annotations__.values()))
    named = (function.__globals__.get(word) for word in re.findall(r"\w+", hints))
    if not any(isinstance(n, type) and issubclass(n, AbstractDtype | AbstractArray) for n in named):
        return function
    typed = beartype(function)
    known: set[Hashable] = set()

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        values = [*args, *kwargs.values()]
        key = (id(values[0]), *kwargs, *map(_shape_of, values))
        if key in known:
            return function(*args, **kwargs)
        known.add(key)
        with jaxtyped("context"):  # in which one name is one length
            return typed(*args, **kwargs)

    return call


def _shape_of(value: object) -> Hashable:
    return (value.shape, value.dtype) if isinstance(value, Tensor) else type(value)


class _Finder(MetaPathFinder):
    def __init__(self, packages: tuple[str, ...]) -> None:
        self._prefixes = tuple(f"{package}." for package in packages)

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not f"{fullname}.".startswith(self._prefixes):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """The code with checks; not from the cache of bytecode, nor written to it."""
        tree = ast.parse(self.get_data(self.path))
        for node in [*ast.walk(tree)]:
            if isinstance(node, ast.FunctionDef):
                decorator = ast.parse(f"__import__({__name__!r}).checked", mode="eval").body
                # Innermost, since other decorators may hide the annotations.
                node.decorator_list.append(ast.copy_location(decorator, node))
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)
