"""The declared search space of a sampler that steers."""

from __future__ import annotations

from collections.abc import Mapping

from lyapopt.errors import UserError
from lyapopt.search.space import Entry, SearchSpace
from lyapopt.search.steering.search_line import is_numeric


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
