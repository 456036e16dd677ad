"""A declared search space: names to distributions, constants and seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from lyapopt.errors import UserError


@dataclass(frozen=True)
class SeedParameter:
    """A seed: a number without order, drawn from (study seed, trial number), never by a sampler.

    A seed given to a sampler as an integer makes it learn from noise.
    """

    low: int = 0
    high: int = 2**31 - 1

    def distribution(self) -> IntDistribution:
        """How Optuna stores it."""
        return IntDistribution(self.low, self.high)


Entry = BaseDistribution | SeedParameter | Any
"""A distribution, a seed, a list of choices, or a constant."""


@dataclass(frozen=True)
class SearchSpace:
    """What varies from trial to trial, in the order in which it is suggested.

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
        for name in self.conditions:
            if name not in self.entries:
                raise UserError(f"search space: a condition for {name!r}, which it does not have")

    @property
    def seeds(self) -> dict[str, SeedParameter]:
        """The seeds among the entries."""
        return {n: e for n, e in self.entries.items() if isinstance(e, SeedParameter)}

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What is suggested, constants left out."""
        found = {name: _distribution(entry) for name, entry in self.entries.items()}
        return {name: entry for name, entry in found.items() if entry is not None}

    def suggest(self, trial: optuna.Trial, without: str | None = None) -> dict[str, Any]:
        """Suggest every parameter whose condition holds; constants are added as they are.

        Args:
            trial: Optuna's trial.
            without: A parameter that is left out, with those whose condition it is.
        """
        params: dict[str, Any] = {}
        for name, entry in self.entries.items():
            if name == without or not self.applies(name, params):
                continue
            distribution = _distribution(entry)
            params[name] = entry if distribution is None else suggest(trial, name, distribution)
        return params

    def applies(self, name: str, params: Mapping[str, Any]) -> bool:
        """Whether the condition of `name` holds, given what was suggested before it."""
        needed = self.conditions.get(name, {})
        return all(
            other in params and params[other] in (wanted if isinstance(wanted, list) else [wanted])
            for other, wanted in needed.items()
        )


def suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """Suggest one parameter from its distribution."""
    match distribution:
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(name, low, high, step=step, log=log)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
    raise UserError(f"search space: {name!r} has a distribution of unknown kind {distribution!r}")


def as_space(space: object) -> SearchSpace | None:
    """The declared space, or `None` for a define-by-run function."""
    if isinstance(space, Mapping):
        return SearchSpace(space)
    return space if isinstance(space, SearchSpace) else None


def as_suggestion(
    space: SearchSpace | Mapping[str, Entry] | Callable[[optuna.Trial], Mapping[str, Any]],
) -> Callable[[optuna.Trial], dict[str, Any]]:
    """`trial -> params` from a declared space, a plain mapping or a define-by-run function."""
    if isinstance(space, SearchSpace):
        return space.suggest
    if isinstance(space, Mapping):
        return SearchSpace(space).suggest
    return lambda trial: dict(space(trial))


def _distribution(entry: Entry) -> BaseDistribution | None:
    if isinstance(entry, SeedParameter):
        return entry.distribution()
    if isinstance(entry, BaseDistribution):
        return entry
    if isinstance(entry, list):
        return CategoricalDistribution(entry)
    return None
