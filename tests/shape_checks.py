"""Shapes in signatures (`Float[Tensor, "systems trajectories dim"]`) are checked while tests run.

jaxtyping's own import hook wraps every function and checks every call, which takes longer than a
step of a small stack. This one wraps those with a shape in their signature, and checks a call once
for every object and all shapes of its arguments.
"""

from __future__ import annotations

import ast
import functools
import random
import re
import sys
from collections.abc import Callable, Hashable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any

from beartype import beartype
from beartype._check.code import codemain
from jaxtyping import AbstractArray, AbstractDtype, jaxtyped
from torch import Tensor

# Which entries of a list are checked is drawn; not from everybody's generator.
codemain.getrandbits = random.Random(0).getrandbits  # type: ignore[attr-defined]


def check_shapes_in(*packages: str) -> None:
    """Check the shapes of packages that are imported from here on."""
    sys.meta_path.insert(0, _Finder(packages))


def checked(function: FunctionType) -> Callable[..., Any]:
    """A function that checks the shapes in its signature; itself, if there are none."""
    hints = {
        name: hint
        for name, hint in function.__annotations__.items()
        if any(_is_shape(function.__globals__.get(word)) for word in re.findall(r"\w+", str(hint)))
    }
    if not hints:
        return function
    known: set[Hashable] = set()
    typed: Callable[..., Any] | None = None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal typed
        values = [*args, *kwargs.values()]
        key = (id(values[0]), *kwargs, *map(_shape_of, values)) if values else ()
        if key in known:
            return function(*args, **kwargs)
        known.add(key)
        # Other hints are left out: tests of messages give what users may give.
        typed = typed or jaxtyped(_with_hints(function, hints), typechecker=beartype)
        return typed(*args, **kwargs)

    return call


def _is_shape(value: object) -> bool:
    """Whether a value of a module is `Float` or the like, or a name for such a type."""
    return isinstance(value, type) and issubclass(value, AbstractDtype | AbstractArray)


def _shape_of(value: object) -> Hashable:
    return (value.shape, value.dtype) if isinstance(value, Tensor) else type(value)


def _with_hints(function: FunctionType, hints: dict[str, Any]) -> FunctionType:
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__qualname__ = function.__qualname__
    copy.__annotations__ = hints
    return copy


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
            if isinstance(node, ast.FunctionDef) and not _is_unchecked(node):
                decorator = ast.parse(f"__import__({__name__!r}).checked", mode="eval").body
                # Innermost, since other decorators may hide the annotations.
                node.decorator_list.append(ast.copy_location(decorator, node))
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)


def _is_unchecked(node: ast.FunctionDef) -> bool:
    """Whether a function explains wrong shapes to its users itself."""
    return any(ast.unparse(decorator) == "no_type_check" for decorator in node.decorator_list)
