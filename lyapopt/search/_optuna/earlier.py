"""Trials of another study that a sampler sees before those of its own, and nothing else does."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from lyapopt.search._optuna.history import OrderedStudy

_ASKED = ("before_trial", "infer_relative_search_space", "sample_relative", "sample_independent")


def earlier_trials(
    found: Sequence[tuple[Mapping[str, Any], Sequence[float]]],
    distributions: Mapping[str, BaseDistribution],
) -> list[FrozenTrial]:
    """Completed trials that come before number 0.

    Optuna looks for the parameters that all trials share from the last one backwards, and ends at
    a number below zero, so that each of these shows the distributions that all of them share; of
    the others samplers read the values.

    Args:
        found: Parameters and values of each trial, in their order.
        distributions: Of the study that they come before.
    """
    shared = {n: d for n, d in distributions.items() if all(n in params for params, _ in found)}
    return [
        FrozenTrial(
            number=number,
            trial_id=number,
            state=TrialState.COMPLETE,
            value=None,
            values=list(values),
            datetime_start=None,
            datetime_complete=None,
            params=dict(params),
            distributions=dict(shared),
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )
        for number, (params, values) in enumerate(found, start=-len(found))
    ]


def begin_with(study: OrderedStudy, trials: Sequence[FrozenTrial]) -> None:
    """Let the sampler of a study see these trials before the study's own.

    Args:
        study: Its pruner, its callbacks and all others that read it do not see them.
        trials: From `earlier_trials`.
    """
    own: Any = study.sampler
    for name in _ASKED if trials else ():
        setattr(own, name, _seeing(study, trials, getattr(own, name)))


def _seeing(
    study: OrderedStudy, trials: Sequence[FrozenTrial], asked: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(asked)
    def answer(*args: Any) -> Any:
        with study.preceded_by(trials):
            return asked(*args)

    return answer
