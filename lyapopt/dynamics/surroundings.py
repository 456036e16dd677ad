"""What a pass of a user's code reaches beside its tensors: random numbers, containers, the loss.

A copy of a model has parameters, buffers and attributes of its own. Global generators, what
functions hold in closures and globals, and what a loss keeps belong to everybody: they are kept as
they were, and all trajectories find them in one state at a step.
"""

from __future__ import annotations

import dis
import functools
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lyapopt.dynamics.contents import Global, contents_of
from lyapopt.dynamics.own_draws import generators, own_draws, turns
from lyapopt.dynamics.randomness import derive_seed

_MANY = 10_000
"""Entries from which a container is data rather than somebody's notes."""
_LARGEST = 2**24
"""Entries of a tensor that is kept in a first pass; weights of a teacher may be more."""
_MOST_OBJECTS = 2_000
_PASSES = ("forward", "training_step")
_EMPTY = nn.Module()


class Surroundings:
    """Generators, small containers and small tensors that functions and modules reach.

    Found are Python's, NumPy's and torch's global generators; generator objects, lists, dicts, sets
    and arrays in closures, defaults, globals that the code names, and attributes; and tensors and
    attributes of modules there, but for those of the model.

    Args:
        model: What every trajectory has a copy of, whose tensors it trains.
        functions: Others that a pass calls, such as the loss.

    Example:
        >>> draws = []
        >>> def loss(outputs, target):
        ...     draws.append(random.random())
        >>> around = Surroundings(None, loss)
        >>> with around.kept(seed=1) as kept:
        ...     loss(None, None)
        >>> kept.has_drawn, kept.has_changed, draws
        (True, True, [])
    """

    def __init__(self, model: object = None, *functions: object) -> None:
        found = _reachable((model, *functions))
        self._generators = [each for each in found if _is_generator(each)]
        # No copy of a model has functions of its own, nor what these hold.
        shared = _reachable((*functions, *(each for each in found if _is_function(each))))
        parts = [part for each in shared if isinstance(each, nn.Module) for part in _tables(each)]
        tensors = [each for each in (*shared, *_tensors_in(parts)) if isinstance(each, Tensor)]
        kept = [*filter(_is_container, found), *filter(_is_container, shared), *parts]
        self._containers = _once([*kept, *(each for each in tensors if each.numel() <= _MANY)])
        self._large = _once([each for each in tensors if _MANY < each.numel() <= _LARGEST])

    def imitate(self, other: Surroundings) -> None:
        """Put generators into the state of those of other surroundings, which copies came from."""
        for own, theirs in zip(self._generators, other._generators, strict=False):
            if own is not theirs and type(own) is type(theirs):
                _, restore, _ = _state_of(own)
                restore(_state_of(theirs)[2])

    def now(self) -> Callable[[], None]:
        """What puts all generators to where they are now; for use where they are kept."""
        states = [*_global_states(), *map(_state_of, self._generators)]

        def put_back() -> None:
            for _, restore, state in states:
                restore(state)

        return put_back

    @contextmanager
    def kept(self, seed: int | None = None, is_first: bool = False) -> Iterator[Kept]:
        """Context after which all is as it was.

        Global generators belong to all threads: threads take turns, and all but the main thread
        draw from copies of torch's, which the loops of other threads do not move.

        Args:
            seed: What all generators are seeded with inside, if anything.
            is_first: Whether large tensors are kept, too, which no pass has shown to stay yet.
        """
        with turns, own_draws():
            kept = Kept()
            states = [*_global_states(), *map(_state_of, self._generators)]
            if seed is not None:
                self.reseed(seed)
                started = [get() for get, _, _ in states]
            else:
                started = [state for _, _, state in states]
            contents = [contents_of(each) for each in self._containers]
            large = [contents_of(each) for each in self._large if is_first]
            try:
                yield kept
            finally:
                kept.has_drawn = any(
                    not _same(get(), state)
                    for (get, _, _), state in zip(states, started, strict=True)
                )
                for _, restore, state in states:
                    restore(state)
                for put_back in contents:
                    kept.has_changed |= put_back()
                for put_back in large:
                    kept.has_changed_much |= put_back()

    def reseed(self, seed: int) -> None:
        """Seed all generators; for use where they are kept."""
        random.seed(seed)
        np.random.seed(seed % 2**32)
        # Not torch.manual_seed: it would also seed devices that nobody uses yet, for later.
        for each in generators():
            each.manual_seed(seed)
        for position, each in enumerate(self._generators):
            _seed(each, derive_seed(seed, position, "generator"))


class Kept:
    """What happened while surroundings were kept.

    Attributes:
        has_drawn: Whether a generator has moved.
        has_changed: Whether a container or a small tensor has.
        has_changed_much: Whether a large tensor has.
    """

    has_drawn = False
    has_changed = False
    has_changed_much = False


_State = tuple[Callable[[], Any], Callable[[Any], Any], Any]
"""How to get a generator's state, how to set it, and what it is."""


def _global_states() -> list[_State]:
    return [
        (random.getstate, random.setstate, random.getstate()),
        (np.random.get_state, np.random.set_state, np.random.get_state()),
        (_torch_states, _set_torch_states, _torch_states()),
    ]


def _torch_states() -> list[torch.Tensor]:
    return [each.get_state() for each in generators()]


def _set_torch_states(states: list[torch.Tensor]) -> None:
    for each, state in zip(generators(), states, strict=False):  # GPUs may be in use by now
        each.set_state(state)


def _is_generator(value: object) -> bool:
    kinds = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
    return isinstance(value, kinds)


def _state_of(generator: Any) -> _State:
    if isinstance(generator, torch.Generator):
        return generator.get_state, generator.set_state, generator.get_state()
    if isinstance(generator, random.Random):
        return generator.getstate, generator.setstate, generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state, generator.set_state, generator.get_state()
    bits = generator.bit_generator
    return (
        lambda: bits.state,
        lambda state: setattr(bits, "state", state),
        bits.state,
    )


def _seed(generator: Any, seed: int) -> None:
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        bits.state = type(bits)(seed).state
    else:
        generator.seed(seed % 2**32)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return all(_same(value, b[key]) for key, value in a.items())
    try:
        return bool(a == b)
    except (ValueError, RuntimeError):  # sequences that hold arrays or tensors
        return all(_same(x, y) for x, y in zip(a, b, strict=True))


@functools.lru_cache(maxsize=256)
def _bound_names(code: CodeType) -> frozenset[str]:
    """Global names that code, or code within it, binds."""
    found = {each.argval for each in dis.get_instructions(code) if each.opname == "STORE_GLOBAL"}
    inner = [part for part in code.co_consts if isinstance(part, CodeType)]
    return frozenset(found.union(*map(_bound_names, inner)))


def _reachable(roots: tuple[object, ...]) -> list[Any]:
    """Generators, containers, functions, modules and tensors that can be kept.

    Their order is the same for copies of the roots.
    """
    found: list[Any] = []
    known: dict[int, object] = {}  # holds on to them, so that no address is used twice
    waiting = list(reversed(roots))
    while waiting and len(known) < _MOST_OBJECTS:
        value = waiting.pop()
        if id(value) in known:
            continue
        known[id(value)] = value
        if _is_generator(value) or _is_container(value) or _is_kept(value):
            found.append(value)
        waiting.extend(reversed(_parts_of(value)))
    return found


def _is_function(value: object) -> bool:
    return isinstance(value, FunctionType)


def _is_kept(value: object) -> bool:
    is_plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
    return is_plain or _is_function(value) or isinstance(value, nn.Module)


def _tables(module: nn.Module) -> list[dict[str, Any]]:
    """What a module calls its own: attributes, parameters and buffers."""
    return [vars(module), module._parameters, module._buffers]


def _tensors_in(tables: Iterable[dict[str, Any]]) -> list[Any]:
    return [value for table in tables for value in table.values() if _is_kept(value)]


def _once(values: Iterable[Any]) -> list[Any]:
    return list({id(value): value for value in values}.values())


def _is_container(value: object) -> bool:
    if isinstance(value, CellType):
        return _is_filled(value)
    if isinstance(value, Global):
        return True
    if isinstance(value, np.ndarray):
        return value.size <= _MANY and value.dtype != object and value.flags.writeable
    return type(value) in (list, dict, set) and len(value) <= _MANY  # type: ignore[arg-type]


def _parts_of(value: object) -> list[object]:
    """What to look at next, of what a function, module or container holds."""
    if isinstance(value, FunctionType):
        names = _global_names(value.__code__)
        return [
            *(value.__closure__ or ()),
            *(value.__defaults__ or ()),
            *(value.__kwdefaults__ or {}).values(),
            value.__dict__,
            *(value.__globals__[name] for name in names if name in value.__globals__),
            *(
                Global(value.__globals__, name)
                for name in sorted(_bound_names(value.__code__))
                if name in value.__globals__
            ),
        ]
    if isinstance(value, CellType):
        return [value.cell_contents] if _is_filled(value) else []
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, nn.Module):
        return _parts_of_module(value)
    if _is_container(value) and not isinstance(value, np.ndarray):
        entries: Any = value
        return list(entries.values() if isinstance(entries, dict) else entries)
    if callable(value) and not isinstance(value, type) and _is_of_users(type(value)):
        return [getattr(value, "__dict__", {}), type(value).__call__]
    return []


def _parts_of_module(module: nn.Module) -> list[object]:
    """Hooks, children and, of a user's own class, the code of its pass and its attributes."""
    hooks: list[object] = []
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        hooks += getattr(module, name).values()
    classes = [vars(kind) for kind in type(module).__mro__ if _is_of_users(kind)]
    if not classes:
        return [*hooks, *module._modules.values()]
    own = [value for name, value in vars(module).items() if not hasattr(_EMPTY, name)]
    passes = [own[name] for own in classes for name in _PASSES if name in own]
    return [*hooks, *own, *passes, *module._modules.values()]


def _is_of_users(kind: type) -> bool:
    return kind.__module__.partition(".")[0] not in ("torch", "numpy", "builtins")


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (an empty one raises)
    except ValueError:
        return False
    return True


def _global_names(code: CodeType) -> list[str]:
    inner = [part for part in code.co_consts if isinstance(part, CodeType)]
    return [*code.co_names, *(name for part in inner for name in _global_names(part))]
