"""Samplers that probe: they may wrap any sampler but one another."""

from __future__ import annotations

from optuna.samplers import BaseSampler

from lyapopt.errors import UserError


def without_probes(name: str, base: BaseSampler) -> BaseSampler:
    """The base sampler of a probing one.

    A sampler that probes candidates would have to be given the steered rate of each, and one that
    steers would have to be told of candidates that are no trials.

    Args:
        name: Of the sampler that wraps it.
        base: The wrapped sampler.

    Raises:
        UserError: If it, or one that it wraps, probes as well.
    """
    inner: object = base
    while isinstance(inner, BaseSampler):
        if hasattr(inner, "start_of"):
            raise UserError(
                f"{name}: its base must not probe itself, as {type(inner).__name__} does; use one "
                "of the two"
            )
        inner = getattr(inner, "base", None)
    return base
