"""Which trainings can be rows of one stacked tensor: those of equal structure.

A stack runs every row through one template module. That is right only if all that the forward pass
reads, beside parameters and buffers, is equal; so every plain attribute of every module enters the
structure, and what cannot be compared counts as different.

A search over activations would fall apart into small stacks, though all else is equal. Plain
`nn.Sequential` models of torch's own layers therefore stack across activations: each row has its
own at the same place.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

# Marks that torch.compile leaves on the module it is given; the second where Lightning is imported.
_OF_COMPILE = {"_is_torch_compile", "_compile_kwargs"}
_OWN_OF_MODULE = (frozenset(vars(nn.Module())) - {"training"}) | _OF_COMPILE
_PLAIN = (bool, int, str, bytes, type, range, type(None), torch.dtype, torch.device, torch.Size)
_HEAP_TYPE = 1 << 9  # of CPython's type flags: the class was made by a class statement
_ELEMENTWISE_NAMES = """
CELU ELU GELU Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid Mish ReLU ReLU6 SELU SiLU
Sigmoid Softplus Softsign Tanh
"""
_ELEMENTWISE = tuple(getattr(nn, name) for name in _ELEMENTWISE_NAMES.split())


def module_structure(module: nn.Module, but: Collection[nn.Module] = ()) -> Hashable:
    """A key that is equal for modules whose forward passes differ in numbers only.

    Args:
        module: The root of the tree.
        but: Parts that count by their places only.
    """
    return _Tokens(module).of_tree(module, set(map(id, but)))


def structure_across_activations(model: nn.Module) -> Hashable:
    """A key that is equal for models that can share a stack: activations do not count."""
    own = [part for _, part in activations(model)]
    return len(own), module_structure(model, but=own)


def activations(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Activations that may differ between rows, by name."""
    parts = list(model.named_modules(remove_duplicate=False))
    if len({id(part) for _, part in parts}) < len(parts) or not all(
        type(part) is nn.Sequential or _is_leaf_of_torch(part) for _, part in parts
    ):
        return
    for name, part in parts:
        if name and type(part) in _ELEMENTWISE and not getattr(part, "inplace", False):
            yield name, part


def _is_leaf_of_torch(part: nn.Module) -> bool:
    hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks)
    is_own = type(part).__module__.startswith("torch.nn.modules.")
    return is_own and not any(part.children()) and not any(hooks) and "forward" not in vars(part)


def loss_structure(loss_fn: Any) -> Hashable:
    """A key that is equal for losses that compute the same function."""
    tokens = _Tokens()
    if not isinstance(loss_fn, nn.Module):
        return tokens.of(loss_fn)
    return tokens.of_tree(loss_fn), tokens.of_values(loss_fn)


class _Same:
    """Equal only to itself. Holds its value, so that the address is not given to another one."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)


class _Tokens:
    """Values as something hashable that is equal only where the values are.

    Args:
        root: A module whose parameters, buffers and parts are known by their names: their values
            are stacked, and do not count.
    """

    def __init__(self, root: nn.Module | None = None) -> None:
        self._names: dict[int, Hashable] = {}
        self._open: dict[int, int] = {}
        if root is not None:
            known: tuple[Iterable[tuple[str, Any]], ...] = (
                root.named_modules(),
                root.named_parameters(),
                root.named_buffers(),
            )
            for role, named in zip(("module", "parameter", "buffer"), known, strict=True):
                self._names.update((id(value), (role, name)) for name, value in named)

    def of_tree(self, module: nn.Module, but: Collection[int] = ()) -> Hashable:
        """The module and its parts. A part that occurs twice is known by its first name."""
        parts = module.named_modules(remove_duplicate=False)
        return tuple(
            (name, self._names.get(id(part)), None if id(part) in but else self._part(part))
            for name, part in parts
        )

    def of_values(self, module: nn.Module) -> Hashable:
        """The numbers in a module."""
        return tuple(_bytes_of(tensor) for tensor in (*module.parameters(), *module.buffers()))

    def of(self, value: Any) -> Hashable:
        """The token of any value; cycles are cut."""
        if type(value) in _PLAIN or isinstance(value, type):
            return type(value), value
        if type(value) in (float, complex):
            return type(value), repr(value)  # nan equals nan, and 0.0 is not -0.0
        if id(value) in self._names:
            return self._names[id(value)]
        if id(value) in self._open:
            return "cycle", self._open[id(value)]
        self._open[id(value)] = len(self._open)
        try:
            return self._composite(value)
        finally:
            del self._open[id(value)]

    def _part(self, part: nn.Module) -> Hashable:
        own = {name: value for name, value in vars(part).items() if name not in _OWN_OF_MODULE}
        # Hooks are kept under numbers that count up through the whole process.
        hooks = {
            name: list(value.values())
            for name, value in vars(part).items()
            if name.endswith("_hooks") and isinstance(value, dict) and value
        }
        shapes = [
            (name, self._names.get(id(tensor)), tuple(tensor.shape), tensor.dtype)
            for tensors in (part._parameters, part._buffers)
            for name, tensor in tensors.items()
            if tensor is not None
        ]
        # A parametrised module has a class made for it alone.
        own_type = parametrize.type_before_parametrizations(part)
        return own_type, self._mapping(own), self._mapping(hooks), tuple(shapes)

    def _composite(self, value: Any) -> Hashable:
        own_type = type(value)
        if isinstance(value, Tensor):
            return _bytes_of(value)
        if isinstance(value, np.ndarray | np.generic):
            is_plain = isinstance(value, np.generic) or not value.dtype.hasobject
            return (
                (own_type, value.dtype.str, value.shape, value.tobytes())
                if is_plain
                else _Same(value)
            )
        if isinstance(value, nn.Module):
            return self.of_tree(value), self.of_values(value)
        if own_type in (dict, OrderedDict):
            return own_type, self._mapping(value)
        if own_type in (list, tuple):
            return own_type, tuple(self.of(item) for item in value)
        if own_type in (set, frozenset):
            return own_type, frozenset(self.of(item) for item in value)
        if isinstance(value, weakref.ref):
            return own_type, self.of(value())
        return self._callable(value) if callable(value) else self._object(value)

    def _callable(self, value: Any) -> Hashable:
        if isinstance(value, types.MethodType):
            return self.of(value.__func__), self.of(value.__self__)
        if isinstance(value, functools.partial):
            return type(value), self.of(value.func), self.of(value.args), self.of(value.keywords)
        if isinstance(value, types.FunctionType):
            return (
                value.__code__,
                _Same(value.__globals__),
                self.of(value.__defaults__),
                self.of(value.__kwdefaults__),
                tuple(self._cell(cell) for cell in value.__closure__ or ()),
                self._mapping(vars(value)),
            )
        return self._object(value)

    def _object(self, value: Any) -> Hashable:
        """An object of a class written in Python is what its attributes are; others are unique."""
        is_readable = hasattr(value, "__dict__") and all(
            base is object or (base.__flags__ & _HEAP_TYPE and not vars(base).get("__slots__"))
            for base in type(value).__mro__
        )
        is_enum = hasattr(type(value), "__members__")
        if is_enum or not is_readable or isinstance(value, types.ModuleType):
            return _Same(value)
        return type(value), self._mapping(vars(value))

    def _mapping(self, value: Mapping[Any, Any]) -> Hashable:
        return tuple((self.of(key), self.of(item)) for key, item in value.items())

    def _cell(self, cell: Any) -> Hashable:
        try:
            contents = cell.cell_contents
        except ValueError:  # a variable that is not bound yet
            return "empty"
        return self.of(contents)


def _bytes_of(tensor: Tensor) -> Hashable:
    """Shape, dtype and a digest of the numbers."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return _Same(tensor)
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest = blake2b(flat.numpy().tobytes(), digest_size=16).digest()
    return tuple(tensor.shape), tensor.dtype, digest
