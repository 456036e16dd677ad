"""Whether a part of a group of trials can be repeated under a pruner, or only the whole group."""

from __future__ import annotations

from optuna.pruners import (
    BasePruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    ThresholdPruner,
)

from lyapopt.search.pruners.decision import DecidingPruner

_COMPARE_WITH_FINISHED = (MedianPruner, NopPruner, PercentilePruner, ThresholdPruner)


def needs_whole_groups(pruner: BasePruner) -> bool:
    """Whether trials of an interrupted group are to be repeated although they had ended.

    A median pruner compares a trial with trials of earlier groups, so that one trial of a group can
    be repeated without the others. Successive halving and Hyperband note the rungs of every trial
    as they are reached, in this group too: to repeat one trial as it was, all must run again. Of a
    pruner that is not known the same is assumed.

    Args:
        pruner: Any Optuna pruner.

    Example:
        >>> import optuna
        >>> needs_whole_groups(optuna.pruners.MedianPruner())
        False
        >>> needs_whole_groups(optuna.pruners.PatientPruner(optuna.pruners.HyperbandPruner(), 1))
        True
    """
    if isinstance(pruner, DecidingPruner):
        return needs_whole_groups(pruner.wrapped)
    if type(pruner) is PatientPruner:
        inner: BasePruner | None = getattr(pruner, "_wrapped_pruner", None)
        return inner is not None and needs_whole_groups(inner)
    return type(pruner) not in _COMPARE_WITH_FINISHED
