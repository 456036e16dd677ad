"""A search space that Optuna can be asked with: parameters as distributions, and suggested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from lyapopt.checks import Arguments
from lyapopt.errors import UserError
from lyapopt.space import (
    AnyParameter,
    CategoricalParameter,
    ConstantParameter,
    FloatParameter,
    IntParameter,
    SeedParameter,
    in_order,
)

Entry = BaseDistribution | AnyParameter | Any
"""A distribution, a seed or another parameter, a list of choices, or a constant."""


@dataclass(frozen=True)
class SearchSpace:
    """What varies from trial to trial, each parameter after those that its condition reads.

    Args:
        entries: Name to distribution, `SeedParameter`, list of choices, or constant.
        conditions: Name to what must hold for it to be suggested: other names and their values.

    Example:
        >>> lr = FloatDistribution(1e-4, 1.0, log=True)
        >>> space = SearchSpace({"lr": lr, "batch_size": 64, "init_seed": SeedParameter()})
        >>> space.seeds
        {'init_seed': SeedParameter(low=0, high=2147483647)}
    """

    entries: Mapping[str, Entry]
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check = Arguments("SearchSpace")
        example = "a mapping of names to distributions, lists and constants"
        check.instance("entries", self.entries, Mapping, example)
        for name in self.entries:
            check.instance("entries: a name", name, str, "a text")
        example = 'a mapping such as {"momentum": {"optimizer": "sgd"}}'
        check.instance("conditions", self.conditions, Mapping, example)
        for name, condition in self.conditions.items():
            check.instance(f"the condition of {name!r}", condition, Mapping, "a mapping")
        for name in self.conditions:
            if name not in self.entries:
                raise UserError(f"search space: a condition for {name!r}, which it does not have")

    @cached_property
    def parameters(self) -> Mapping[str, AnyParameter]:
        """The entries in the order in which they are suggested."""
        return in_order(
            {
                name: _parameter(name, entry, self.conditions.get(name, {}))
                for name, entry in self.entries.items()
            }
        )

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What is suggested, constants left out."""
        found = {name: _distribution(p) for name, p in self.parameters.items()}
        return {
            name: distribution for name, distribution in found.items() if distribution is not None
        }

    @property
    def seeds(self) -> dict[str, SeedParameter]:
        """The seeds among the entries."""
        return {n: p for n, p in self.parameters.items() if isinstance(p, SeedParameter)}

    def suggest(self, trial: optuna.Trial, without: str | None = None) -> dict[str, Any]:
        """Suggest every parameter whose condition holds; constants are added as they are.

        Args:
            trial: Optuna's trial.
            without: A parameter that is left out, with those whose condition it is.
        """
        params: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if name != without and parameter.is_active(params):
                params[name] = suggest(trial, name, parameter)
        return params

    def with_constants(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What `suggest` returns if a trial is given these values: what exists, and constants.

        >>> space = SearchSpace({"a": [1, 2], "b": 7, "c": 8}, {"b": {"a": 1}, "c": {"a": 2}})
        >>> space.with_constants({"a": 1})
        {'a': 1, 'b': 7}
        """
        found: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if not parameter.is_active(found):
                continue
            if isinstance(parameter, ConstantParameter):
                found[name] = parameter.value
            elif name in params:
                found[name] = params[name]
        return found

    def applies(self, name: str, params: Mapping[str, Any]) -> bool:
        """Whether the condition of `name` holds, given what was suggested before it."""
        parameter = self.parameters.get(name)
        return parameter is None or parameter.is_active(params)


def suggest(trial: optuna.Trial, name: str, parameter: AnyParameter) -> Any:
    """Suggest one parameter; a constant is what it is."""
    match parameter:
        case FloatParameter(low=low, high=high, step=step, log=log):
            return trial.suggest_float(name, low, high, step=step, log=log)
        case IntParameter(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case CategoricalParameter(choices=choices):
            return trial.suggest_categorical(name, choices)
        case SeedParameter(low=low, high=high):
            return trial.suggest_int(name, low, high)
        case ConstantParameter(value=value):
            return value


def as_space(space: object) -> SearchSpace | None:
    """The declared space, or `None` for a define-by-run function."""
    if isinstance(space, Mapping):
        return SearchSpace(space)
    return space if isinstance(space, SearchSpace) else None


def as_suggestion(
    space: SearchSpace | Mapping[str, Entry] | Callable[[optuna.Trial], Mapping[str, Any]],
) -> Callable[[optuna.Trial], dict[str, Any]]:
    """`trial -> params` from a declared space, a plain mapping or a define-by-run function."""
    if callable(space):
        return lambda trial: dict(space(trial))
    return (space if isinstance(space, SearchSpace) else SearchSpace(space)).suggest


def _distribution(parameter: AnyParameter) -> BaseDistribution | None:
    """How Optuna stores a parameter; `None` for a constant."""
    match parameter:
        case FloatParameter(low=low, high=high, step=step, log=log):
            return FloatDistribution(low, high, log=log, step=step)
        case IntParameter(low=low, high=high, step=step, log=log):
            return IntDistribution(low, high, log=log, step=step)
        case CategoricalParameter(choices=choices):
            return CategoricalDistribution(choices)
        case SeedParameter(low=low, high=high):
            return IntDistribution(low, high)
        case ConstantParameter():
            return None


def _parameter(name: str, entry: Entry, condition: Mapping[str, Any]) -> AnyParameter:
    """The parameter that an entry stands for, with its condition."""
    parameter = _unconditional(name, entry)
    values = {o: tuple(v) if isinstance(v, list) else (v,) for o, v in condition.items()}
    return replace(parameter, when={**parameter.when, **values}) if values else parameter


def _unconditional(name: str, entry: Entry) -> AnyParameter:
    if isinstance(entry, AnyParameter):
        return entry
    match entry:
        case FloatDistribution(low=low, high=high, log=log, step=step):
            return FloatParameter(low, high, log, step)
        case IntDistribution(low=low, high=high, log=log, step=step):
            return IntParameter(low, high, log, step)
        case CategoricalDistribution(choices=choices):
            return CategoricalParameter(choices)
        case BaseDistribution():
            raise UserError(f"search space: {name!r} has a distribution of unknown type {entry!r}")
        case []:
            raise UserError(f"search space: {name!r} has no choices")
        case list():
            return CategoricalParameter(tuple(entry))
    return ConstantParameter(entry)
