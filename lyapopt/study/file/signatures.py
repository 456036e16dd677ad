"""Signatures of Optuna's samplers and pruners, read from its source: Optuna itself takes a second
to import, and checking a study file must not.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from lyapopt.errors import UserError
from lyapopt.study.file.own_classes import OWN_SOURCE

__all__ = ["ClassKind", "Parameter", "Signature", "available", "display_name", "signature_of"]

ClassKind = Literal["sampler", "pruner", "crossover", "mutation"]

_PACKAGES: dict[ClassKind, tuple[str, str]] = {
    "sampler": ("optuna.samplers", "Sampler"),
    "pruner": ("optuna.pruners", "Pruner"),
    "crossover": ("optuna.samplers.nsgaii", "Crossover"),
    "mutation": ("optuna.samplers.nsgaii", "Mutation"),
}
_BASES: dict[str, ClassKind] = {
    "BaseSampler": "sampler",
    "BasePruner": "pruner",
    "BaseCrossover": "crossover",
    "BaseMutation": "mutation",
}
_OWN_PACKAGE = "lyapopt.search"
_SCALARS = frozenset({"int", "float", "bool", "str", "None"})
_ALIASES: dict[ClassKind, dict[str, str]] = {
    "sampler": {
        "gaussianprocess": "GPSampler",
        "sobol": "QMCSampler",
        "nsga2": "NSGAIISampler",
        "nsga3": "NSGAIIISampler",
    },
    "pruner": {
        "none": "NopPruner",
        "sha": "SuccessiveHalvingPruner",
        "asha": "SuccessiveHalvingPruner",
    },
    "crossover": {},
    "mutation": {},
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a constructor.

    Attributes:
        name: the keyword.
        members: its annotation's alternatives, as written (`int`, `None`, `BaseSampler`, ...).
        required: it has no default.
        default: the default, as written in the source.
    """

    name: str
    members: tuple[str, ...] = ()
    required: bool = False
    default: str | None = None

    @property
    def nested(self) -> ClassKind | None:
        """The kind of class that this parameter takes, None if it takes a plain value."""
        for member in self.members:
            if (base := member.rpartition(".")[2]) in _BASES:
                return _BASES[base]
        return None

    @property
    def nullable(self) -> bool:
        """Whether null is a value."""
        return not self.members or "None" in self.members

    @property
    def scalars(self) -> frozenset[str] | None:
        """The scalar types that it takes, or None where the annotation says something else."""
        members = frozenset(self.members)
        return members if members and members <= _SCALARS else None

    @property
    def callable(self) -> bool:
        """Whether it takes a function, which a study file names by import path."""
        return any(
            member.startswith(("Callable", "collections.abc.Call")) for member in self.members
        )


@dataclass(frozen=True)
class Signature:
    """A class and its constructor's parameters; `open` if it takes any keyword."""

    import_path: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    open: bool = False

    @property
    def class_name(self) -> str:
        """`TPESampler` of `optuna.samplers:TPESampler`."""
        return self.import_path.rpartition(":")[2]


def available(kind: ClassKind) -> tuple[str, ...]:
    """Names of the classes of a kind, ours first, as study files write them.

    >>> "edge-of-chaos" in available("sampler"), "median" in available("pruner")
    (True, True)
    """
    names = [*_own_classes(kind), *_optuna_classes(kind)]
    return tuple(display_name(name, kind) for name in names)


def display_name(class_name: str, kind: ClassKind) -> str:
    """The name in a study file of a class.

    >>> display_name("SuccessiveHalvingPruner", "pruner"), display_name("NSGAIISampler", "sampler")
    ('successive-halving', 'nsgaii')
    """
    short = class_name.removesuffix(_PACKAGES[kind][1])
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", short).lower()


def signature_of(name: str, kind: ClassKind) -> Signature | None:
    """The signature of the class of that name, or None if there is none.

    The name is `tpe`, `TPESampler` or `optuna.samplers:TPESampler`; case and dashes do not matter.

    Raises:
        UserError: Optuna is not installed.
    """
    short = re.sub(r"^optuna\.[\w.]*[.:]", "", name)
    suffix = _PACKAGES[kind][1]
    form = _form(short).removesuffix(suffix.lower()) or _form(short)
    own, theirs = _own_classes(kind), _optuna_classes(kind)
    by_form = {_form(n.removesuffix(suffix)): n for n in (*theirs, *own)}
    class_name = by_form.get(form) or _ALIASES[kind].get(form)
    if class_name is None:
        return None
    if class_name in own:
        return _read(f"{_OWN_PACKAGE}:{class_name}", own[class_name], None)
    return _optuna_signature(_PACKAGES[kind][0], class_name, theirs[class_name])


def _form(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).lower()


# the sources


@lru_cache
def _optuna_folder() -> Path:
    spec = importlib.util.find_spec("optuna")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("optuna is not installed: pip install optuna")
    return Path(next(iter(spec.submodule_search_locations))).parent


def _source_file(module: str) -> Path:
    path = _optuna_folder().joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@lru_cache
def _tree(module: str) -> ast.Module:
    try:
        return ast.parse(_source_file(module).read_bytes())
    except (OSError, SyntaxError):  # an unusual installation: nothing is known, nothing refused
        return ast.Module([], [])


@lru_cache
def _own_tree() -> ast.Module:
    return ast.parse(OWN_SOURCE)


def _own_classes(kind: ClassKind) -> dict[str, ast.ClassDef]:
    suffix = _PACKAGES[kind][1]
    return {n: c for n, c in _classes(_own_tree()).items() if n.endswith(suffix)}


def _optuna_classes(kind: ClassKind) -> dict[str, str]:
    """Class name -> module, from the imports of the package's `__init__.py`."""
    package, suffix = _PACKAGES[kind]
    imported = dict(_imports(_tree(package)))
    return {
        name: module
        for name, module in imported.items()
        if name.endswith(suffix) and not name.startswith("Base")
    }


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, node.module


def _classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


@lru_cache
def _optuna_signature(package: str, class_name: str, module: str) -> Signature:
    path = f"{package}:{class_name}"
    definition = _classes(_tree(module)).get(class_name)
    if definition is None:
        return Signature(path, open=True)
    return _read(path, definition, module)


def _read(import_path: str, definition: ast.ClassDef, module: str | None) -> Signature:
    constructor = _constructor(definition, module)
    if constructor is None:
        return Signature(import_path)
    arguments = constructor.args
    parameters: dict[str, Parameter] = {}
    positional = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = list(zip(positional, [*missing, *arguments.defaults], strict=True))[1:]
    for argument, default in [
        *pairs,
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]:
        parameters[argument.arg] = Parameter(
            argument.arg,
            tuple(_members(argument.annotation)),
            default is None,
            None if default is None else ast.unparse(default),
        )
    return Signature(import_path, parameters, arguments.kwarg is not None)


def _constructor(definition: ast.ClassDef, module: str | None) -> ast.FunctionDef | None:
    """`__init__` of the class, or of the nearest base that has one."""
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return node
    if module is None:
        return None
    tree = _tree(module)
    imported = dict(_imports(tree))
    for base in definition.bases:
        name = ast.unparse(base)
        home = module if name in _classes(tree) else imported.get(name, "")
        if home.startswith("optuna.") and name in _classes(_tree(home)):
            found = _constructor(_classes(_tree(home))[name], home)
            if found is not None:
                return found
    return None


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
    else:
        yield ast.unparse(annotation)
