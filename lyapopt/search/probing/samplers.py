"""The base of samplers that probe, and how an objective finds them among those that wrap them."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, TypeGuard, runtime_checkable

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from lyapopt.errors import UserError
from lyapopt.search import attributes
from lyapopt.search._optuna import set_attribute
from lyapopt.search.probing.building import Params
from lyapopt.search.probing.probes import ProbedStart
from lyapopt.search.samplers.wrapping import WrappingSampler, wrapped_samplers


@runtime_checkable
class ProbesTrials(Protocol):
    """A sampler that takes the first steps of a trial before the trial does."""

    def start_of(self, trial: optuna.Trial) -> ProbedStart | None:
        """The first steps of a running trial of this process, where they were kept."""


@runtime_checkable
class SteersGroups(Protocol):
    """A sampler that finds one parameter of a whole group of trials in stacked batches."""

    @property
    def steer(self) -> str:
        """Name of the parameter."""

    def steers(self, trial: optuna.Trial) -> bool:
        """Whether a trial is to be steered."""

    def propose_rates(
        self,
        list_of_params: Sequence[Params],
        *,
        trials: Sequence[optuna.Trial] | None = None,
        distribution: BaseDistribution | None = None,
    ) -> list[int | float]:
        """Its value for every trial, given their other parameters."""


class ProbingSampler(WrappingSampler):
    """A sampler that probes configurations, drawn with the help of a base sampler.

    Args:
        base: The wrapped sampler.

    Raises:
        UserError: If it, or one that it wraps, probes as well. A sampler that probes candidates
            would have to be given the steered rate of each, and one that steers would have to be
            told of candidates that are no trials.
    """

    def __init__(self, base: BaseSampler) -> None:
        for inner in wrapped_samplers(base):
            if isinstance(inner, ProbesTrials):
                raise UserError(
                    f"{type(self).__name__}: its base must not probe itself, as "
                    f"{type(inner).__name__} does; use one of the two"
                )
        super().__init__(base)
        self._lock = threading.Lock()

    @abstractmethod
    def start_of(self, trial: optuna.Trial) -> ProbedStart | None:
        """The first steps of a running trial of this process, where they were kept."""

    @abstractmethod
    def _state_in_another_process(self) -> dict[str, object]:
        """Attributes that a pickle resets: those that belong to trials of this process."""

    def __getstate__(self) -> dict[str, object]:
        state: dict[str, object] = self.__dict__.copy()
        del state["_lock"]
        return state | self._state_in_another_process()

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def charge_probes(study: optuna.Study, trial: FrozenTrial, gradient_evaluations: float) -> None:
    """Charge probes to a trial that has ended, unless its objective has counted its cost."""
    if attributes.COST not in trial.user_attrs:
        set_attribute(study, trial, attributes.MEASURING, float(gradient_evaluations))
        set_attribute(study, trial, attributes.COST, float(gradient_evaluations))


def first_steps_of(trial: optuna.Trial) -> ProbedStart | None:
    """First steps that the study's sampler, or one that it wraps, has probed for a trial."""
    for sampler in wrapped_samplers(trial.study.sampler):
        start = sampler.start_of(trial) if _probes(sampler) else None
        if start is not None:
            return start
    return None


def _probes(sampler: object) -> TypeGuard[ProbesTrials]:
    """Whether a sampler probes; its class is asked, since Python remembers what it answered."""
    return issubclass(type(sampler), ProbesTrials)


def steering_sampler(sampler: BaseSampler) -> SteersGroups | None:
    """The sampler that steers, among a sampler and those that it wraps."""
    for inner in wrapped_samplers(sampler):
        if isinstance(inner, SteersGroups):
            return inner
    return None
