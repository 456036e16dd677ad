"""What can be steered, and in which search space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from lyapopt.errors import UserError
from lyapopt.search.space import Entry, SearchSpace


def declared_space(
    space: SearchSpace | Mapping[str, Entry] | None, steer: str
) -> SearchSpace | None:
    """A declared search space in which `steer` can be steered.

    Raises:
        UserError: If it has no such parameter, or that is not a numeric range.
    """
    if space is None:
        return None
    declared = space if isinstance(space, SearchSpace) else SearchSpace(space)
    distribution = declared.distributions.get(steer)
    if distribution is None:
        names = ", ".join(declared.distributions) or "nothing"
        raise UserError(
            f"EdgeOfChaosSampler: the search space has no parameter {steer!r} to steer; it has "
            f"{names}"
        )
    if not is_numeric(distribution) or steer in declared.seeds:
        raise UserError(
            f"EdgeOfChaosSampler: {steer!r} is not a numeric range and cannot be steered; it is "
            f"{declared.entries[steer]!r}"
        )
    return declared


def is_numeric(distribution: BaseDistribution) -> bool:
    """Whether a parameter can be steered."""
    return isinstance(distribution, FloatDistribution | IntDistribution)


def key_of(params: Mapping[str, Any]) -> str:
    """Parameters as a key of the answers that are waiting for a trial to ask."""
    return repr(sorted((name, repr(value)) for name, value in params.items()))
