"""A user's own network as a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lyapopt.bench.tables.cases import ACTIVATIONS, SEEDS, Case, spaced
from lyapopt.display import one_line
from lyapopt.dynamics.structure import module_structure
from lyapopt.errors import UserError
from lyapopt.search.probing.building import Build, build_training

_RATES = (1e-4, 10.0, 21)


def own_case(path: str, build: Build, grid: Sequence[str] = ()) -> Case:
    """The case of a build function `params -> Training`.

    The grid is five activations, three init seeds and 21 rates from 1e-4 to 10, unless `grid` says
    otherwise. An activation that changes nothing is left out.

    Args:
        path: `package.module:build`.
        build: That function.
        grid: Axes such as `activation=relu,tanh`, `init_seed=0,1` and `lr=1e-4:1:13` (low, high,
            count on a logarithmic scale).

    Raises:
        UserError: If an axis cannot be read.
    """
    axes: dict[str, tuple[Any, ...]] = {
        "activation": ACTIVATIONS,
        "init_seed": SEEDS,
        "lr": spaced(*_RATES),
    }
    given = dict(_axis(text) for text in grid)
    axes = {**axes, **given}
    if "activation" not in given and not _reads_activation(build, axes):
        del axes["activation"]
    ordered = {name: values for name, values in axes.items() if name not in ("init_seed", "lr")}
    ordered |= {"init_seed": axes["init_seed"], "lr": axes["lr"]}
    return Case(path, path, {}, ordered, build=build)


def _axis(text: str) -> tuple[str, tuple[Any, ...]]:
    name, _, values = text.partition("=")
    if not name or not values:
        raise UserError(f"--grid {one_line(text)}: expected name=value,value or lr=low:high:count")
    if name != "lr":
        return name, tuple(_value(value) for value in values.split(","))
    try:
        low, high, count = values.split(":")
        rates = spaced(float(low), float(high), int(count))
    except (ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"--grid {one_line(text)}: expected lr=low:high:count, as in lr=1e-4:1:13"
        ) from error
    if len(rates) < 3 or not 0 < rates[0] < rates[-1]:
        raise UserError(f"--grid {one_line(text)}: at least three ascending rates are needed")
    return name, rates


def _value(text: str) -> Any:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _reads_activation(build: Build, axes: Mapping[str, tuple[Any, ...]]) -> bool:
    """Whether networks differ by their activation."""
    first = {name: values[0] for name, values in axes.items()}
    structures = [
        module_structure(build_training(build, {**first, "activation": name}, 0, 0).model)
        for name in axes["activation"][:2]
    ]
    return structures[0] != structures[1]
