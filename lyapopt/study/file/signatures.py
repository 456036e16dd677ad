"""Signatures of samplers and pruners, without importing them: Optuna and torch take seconds.

They come from `signature_table`, which `write_signatures` makes and a test keeps true. Those of
Optuna's classes are read from its source instead where another version of it is installed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path
from typing import get_args

from lyapopt.errors import UserError
from lyapopt.registry import REGISTRY, Role, Row
from lyapopt.study.file.signature_table import OPTUNA, SIGNATURES

__all__ = ["Parameter", "Signature", "available", "display_name", "signature_of"]

_PACKAGES: Mapping[Role, str] = {
    "sampler": "optuna.samplers",
    "pruner": "optuna.pruners",
    "crossover": "optuna.samplers.nsgaii",
    "mutation": "optuna.samplers.nsgaii",
}
_BASES: Mapping[str, Role] = {f"Base{role.capitalize()}": role for role in get_args(Role)}
_KINDS = {
    **{name: name for name in ("int", "float", "bool", "str", "None")},
    **dict.fromkeys(("dict", "Mapping"), "mapping"),
    **dict.fromkeys(("list", "ndarray", "Sequence"), "list"),
    "Callable": "function",
}
"""Annotations by what a study file has for them."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a constructor.

    Attributes:
        name: the keyword.
        members: its annotation's alternatives, as written (`int`, `None`, `BaseSampler`, ...).
        required: it has no default.
    """

    name: str
    members: tuple[str, ...] = ()
    required: bool = False

    @property
    def nested(self) -> Role | None:
        """What the class that this parameter takes is, None if it takes a plain value."""
        for member in self.members:
            if (base := member.rpartition(".")[2]) in _BASES:
                return _BASES[base]
        return None

    @property
    def nullable(self) -> bool:
        """Whether null is a value."""
        return not self.members or "None" in self.members

    @property
    def kinds(self) -> frozenset[str] | None:
        """What it takes, in a file's kinds of values; None where the annotation says others."""
        heads = [member.partition("[")[0].rpartition(".")[2] for member in self.members]
        return (
            frozenset(map(_KINDS.__getitem__, heads))
            if heads and _KINDS.keys() >= {*heads}
            else None
        )

    @property
    def callable(self) -> bool:
        """Whether it takes a function, which a study file names by import path."""
        return "function" in (self.kinds or ())


@dataclass(frozen=True)
class Signature:
    """A row of the registry and its constructor's parameters; `open` if it takes any keyword."""

    row: Row
    parameters: Mapping[str, Parameter]
    open: bool = False


def available(role: Role) -> tuple[str, ...]:
    """Names of the classes of a role, ours first, as study files write them.

    >>> "edge-of-chaos" in available("sampler"), "median" in available("pruner")
    (True, True)
    """
    return tuple(row.name for row in _rows(role))


def display_name(class_name: str, role: Role) -> str:
    """The name that a study file would have for a class.

    >>> display_name("SuccessiveHalvingPruner", "pruner"), display_name("NSGAIISampler", "sampler")
    ('successive-halving', 'nsgaii')
    """
    short = class_name.removesuffix(role.capitalize())
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", short).lower()


def signature_of(name: str, role: Role) -> Signature | None:
    """The signature of the class of that name, or None if there is none.

    The name is `tpe`, `TPESampler` or `optuna.samplers:TPESampler`; case and dashes do not matter.

    Raises:
        UserError: Optuna is not installed.
    """
    form = _form(re.sub(r"^optuna\.[\w.]*[.:]", "", name), role)
    for row in _rows(role):
        if form in (_form(row.name, role), _form(row.class_name, role), *row.aliases):
            return _signature(row, role)
    return None


def _form(name: str, role: Role) -> str:
    form = re.sub(r"[-_\s]", "", name).lower()
    return form.removesuffix(role) or form


def _rows(role: Role) -> tuple[Row, ...]:
    """The rows of the registry, with the classes that another version of Optuna has."""
    if _is_tabled():
        return REGISTRY[role]
    there = _modules(role)
    rows = [r for r in REGISTRY[role] if r.import_path in SIGNATURES or r.class_name in there]
    new = there.keys() - {row.class_name for row in rows}
    package = _PACKAGES[role]
    return (*rows, *(Row(display_name(n, role), f"{package}:{n}") for n in sorted(new)))


def _signature(row: Row, role: Role) -> Signature:
    if row.import_path.startswith("optuna.") and not _is_tabled():
        module = _modules(role)[row.class_name]
        definition = _definition(row.class_name, module)
        if definition is None:  # made in some other way: nothing is known, nothing is refused
            return Signature(row, {}, open=True)
        constructor = _constructor(definition, module)
    else:
        constructor = _tabled(row.import_path)
    if constructor is None:
        return Signature(row, {})
    return Signature(row, _parameters(constructor), constructor.kwarg is not None)


def _tabled(import_path: str) -> ast.arguments:
    [function] = ast.parse(f"def __init__(self, {SIGNATURES[import_path]}): ...").body
    assert isinstance(function, ast.FunctionDef)
    return function.args


def _parameters(arguments: ast.arguments) -> dict[str, Parameter]:
    positional = [*arguments.posonlyargs, *arguments.args]
    required: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults = [*required, *arguments.defaults, *arguments.kw_defaults]
    return {
        argument.arg: Parameter(argument.arg, tuple(_members(argument.annotation)), default is None)
        for argument, default in zip([*positional, *arguments.kwonlyargs], defaults, strict=True)
        if argument.arg != "self"
    }


def _members(annotation: ast.expr | None) -> Iterator[str]:
    if annotation is None:
        return
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        yield from _members(annotation.left)
        yield from _members(annotation.right)
    elif isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Optional":
        yield from _members(annotation.slice)
        yield "None"
    elif isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        literals = [n for n in ast.walk(annotation.slice) if isinstance(n, ast.Constant)]
        yield from sorted({type(literal.value).__name__ for literal in literals})
    else:
        yield ast.unparse(annotation)


# Optuna's source, under another version than that of the table


@lru_cache
def _is_tabled() -> bool:
    try:
        return metadata.version("optuna") == OPTUNA
    except metadata.PackageNotFoundError:
        raise UserError("optuna is not installed: pip install optuna") from None


@lru_cache
def _modules(role: Role) -> dict[str, str]:
    """Class name -> module, from the imports of the package's `__init__.py`."""
    names = _imports(_tree(_PACKAGES[role])).items()
    suffix = role.capitalize()
    return {n: m for n, m in names if n.endswith(suffix) and not n.startswith("Base")}


def _definition(class_name: str, module: str) -> ast.ClassDef | None:
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return node
    return None


def _constructor(definition: ast.ClassDef, module: str) -> ast.arguments | None:
    """The arguments of `__init__` of a class, or of the nearest base that has one."""
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return node.args
    for name in map(ast.unparse, definition.bases):
        home = _imports(_tree(module)).get(name, module)
        base = _definition(name, home) if home.startswith("optuna.") else None
        if base is not None and (inherited := _constructor(base, home)) is not None:
            return inherited
    return None


def _imports(tree: ast.Module) -> dict[str, str]:
    return {
        alias.asname or alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        for alias in node.names
    }


@lru_cache
def _tree(module: str) -> ast.Module:
    spec = util.find_spec("optuna")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parents[1].joinpath(*module.split("."))
    try:
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        return ast.parse(source.read_bytes())
    except (OSError, SyntaxError):  # an unusual installation
        return ast.Module([], [])
