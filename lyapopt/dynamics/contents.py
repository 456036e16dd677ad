"""What containers, tensors and variables hold, and how it is put back."""

from __future__ import annotations

from collections.abc import Callable
from types import CellType
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

Restore = Callable[[], bool]
"""Puts back what was there, and tells whether it had changed."""


def contents_of(container: Any) -> Restore:
    """Keep what a container or a tensor holds now."""
    if isinstance(container, CellType):
        return _contents_of_cell(container)
    if isinstance(container, Global):
        return _binding_of(container)
    if isinstance(container, Tensor):
        return _contents_of_tensor(container)
    if isinstance(container, np.ndarray):
        values = container.copy()

        def restore() -> bool:
            changed = not np.array_equal(values, container, equal_nan=values.dtype.kind in "fc")
            if changed:
                container[...] = values
            return changed

        return restore
    before = container.copy()

    def refill() -> bool:
        if len(before) == len(container) and _holds_the_same(before, container):
            return False
        container.clear()
        if isinstance(container, list):
            container.extend(before)
        else:
            container.update(before)
        return True

    return refill


def _holds_the_same(before: Any, now: Any) -> bool:
    if isinstance(before, dict):
        return all(a is b and before[a] is now[b] for a, b in zip(before, now, strict=True))
    if isinstance(before, set):
        return {id(each) for each in before} == {id(each) for each in now}
    return all(a is b for a, b in zip(before, now, strict=True))


def _contents_of_cell(cell: CellType) -> Restore:
    before = cell.cell_contents

    def restore() -> bool:
        changed = cell.cell_contents is not before
        cell.cell_contents = before
        return changed

    return restore


def _contents_of_tensor(tensor: Tensor) -> Restore:
    values = tensor.detach().clone()

    def restore() -> bool:
        now = tensor.data
        if now.shape == values.shape and bool(
            ((now == values) | (now.isnan() & values.isnan())).all()
        ):
            return False
        now.copy_(values)
        return True

    return restore


class Global(NamedTuple):
    """A global name that some code binds anew, such as a counter."""

    table: dict[str, Any]
    name: str


def _binding_of(one: Global) -> Restore:
    before = one.table[one.name]

    def restore() -> bool:
        changed = one.table.get(one.name) is not before
        one.table[one.name] = before
        return changed

    return restore
