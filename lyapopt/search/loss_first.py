"""Where only those trials are measured that the loss lets through."""

from __future__ import annotations

from typing import Literal

import optuna

from lyapopt.search._optuna import nested_samplers, wrapped_pruners
from lyapopt.search.probing.samplers import ProbesTrials
from lyapopt.search.pruners.lyapunov import LyapunovPruner
from lyapopt.search.steering import EdgeOfChaosSampler

Neighbours = Literal["auto", "all"]
"""Of which trials neighbours are run: where nothing else reads their exponents, of those that the
loss lets through; or of all."""

_OURS = "lyapopt.search.samplers."
"""Samplers that pass on what Optuna's draw, or what is given."""


def needed_fall(study: optuna.Study) -> float | None:
    """Share of its first loss that a trial's loss must fall by for neighbours to be run.

    `None` where they are run for all trials: without a `LyapunovPruner` that prunes what is slow,
    and where something else may read the exponents of trials that it prunes. That is whatever is
    not Optuna's own, and constraints, which are functions of a trial.

    Example:
        >>> study = optuna.create_study(pruner=LyapunovPruner(slow=0.02))
        >>> needed_fall(study)
        0.02
        >>> study.pruner = LyapunovPruner(slow=None)
        >>> needed_fall(study) is None
        True
    """
    pruner = study.pruner
    if type(pruner) is not LyapunovPruner or len(study.directions) > 1:
        return None
    _, *wrapped = wrapped_pruners(pruner)
    if not all(_is_optunas(each) for each in wrapped):
        return None
    return pruner.slow if all(map(_is_blind, nested_samplers(study.sampler))) else None


def _is_blind(sampler: optuna.samplers.BaseSampler) -> bool:
    """Whether a sampler surely reads no exponents of trials, but those of its own probes."""
    if type(sampler) is EdgeOfChaosSampler:
        return True
    if isinstance(sampler, ProbesTrials) or getattr(sampler, "_constraints_func", None) is not None:
        return False
    return _is_optunas(sampler) or type(sampler).__module__.startswith(_OURS)


def _is_optunas(part: object) -> bool:
    return type(part).__module__.startswith("optuna.")
