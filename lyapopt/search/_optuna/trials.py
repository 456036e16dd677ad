"""Creating, beginning and ending trials, and what `Trial` objects keep to themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import optuna
from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled
from optuna.trial import FrozenTrial, TrialState

from lyapopt.search._optuna.history import NUMBER_ATTRIBUTE, worker_of
from lyapopt.search._optuna.storage import flush
from lyapopt.store.states import WORKER_ATTRIBUTE


def create_trial(
    study: optuna.Study,
    number: int,
    worker: str,
    *,
    params: Mapping[str, Any] | None = None,
    user_attrs: Mapping[str, Any] | None = None,
    system_attrs: Mapping[str, Any] | None = None,
) -> int:
    """Create a running trial with a logical number, and give its id; nothing is sampled yet.

    In one transaction, so that no crash leaves a trial of which nobody knows whose it is; `ask`
    would set the attributes later. The caller keeps other workers from creating at the same time.

    Args:
        study: The study.
        number: Its logical number.
        worker: Who runs it.
        params: Parameters that are fixed.
        user_attrs: User attributes that it begins with.
        system_attrs: System attributes likewise.
    """
    study._thread_local.cached_all_trials = None
    count = study._storage.get_n_trials(study._study_id)
    fixed = {"fixed_params": dict(params)} if params else {}
    own = {} if count == number else {NUMBER_ATTRIBUTE: number}
    template = optuna.trial.create_trial(
        state=TrialState.RUNNING,
        user_attrs={**(user_attrs or {}), **own},
        system_attrs={**(system_attrs or {}), WORKER_ATTRIBUTE: worker, **fixed},
    )
    trial_id = study._storage.create_new_trial(study._study_id, template_trial=template)
    if count == number and study._storage.get_trial(trial_id).number != number:
        # Somebody who knows nothing of us has created one at the same time.
        study._storage.set_trial_user_attr(trial_id, NUMBER_ATTRIBUTE, number)
        flush(study)  # until then other workers take it for the trial of another number
    return trial_id


def take_waiting(
    study: optuna.Study, number: int, worker: str, system_attrs: Mapping[str, Any] | None = None
) -> int | None:
    """Take the first trial that was enqueued, and give its id; `None` if there is none.

    Arguments as of `create_trial`.
    """
    storage = study._storage
    waiting = (TrialState.WAITING,)
    for trial in storage.get_all_trials(study._study_id, deepcopy=False, states=waiting):
        try:
            for name, value in {**(system_attrs or {}), WORKER_ATTRIBUTE: worker}.items():
                storage.set_trial_system_attr(trial._trial_id, name, value)
            if trial.number != number:
                storage.set_trial_user_attr(trial._trial_id, NUMBER_ATTRIBUTE, number)
            if storage.set_trial_state_values(trial._trial_id, state=TrialState.RUNNING):
                return trial._trial_id
        except optuna.exceptions.UpdateFinishedTrialError:
            continue  # somebody who knows nothing of us was faster
    return None


def begin_trial(study: optuna.Study, trial_id: int) -> optuna.Trial:
    """The trial of an id as `ask` gives it: its sampler prepares."""
    study._thread_local.cached_all_trials = None
    return optuna.Trial(study, trial_id)


def end_interrupted(study: optuna.Study, trial: FrozenTrial) -> None:
    """Fail a trial that is run again, unless it has ended, and keep it from the sampler.

    `Study.tell` would show it to the sampler, and after its last point, however that ended,
    `GridSampler` stops the study.
    """
    with suppress(optuna.exceptions.UpdateFinishedTrialError):
        study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)


def set_attribute(study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Set a user attribute of a running trial of which there is no `Trial` object any more."""
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def identifier(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> tuple[str, int]:
    """What tells a trial from all others in this process, also before it has a number."""
    return study.study_name, trial._trial_id


def trial_ids(study: optuna.Study) -> dict[int, int]:
    """A storage's own number of each trial, by the trial's number: dashboards go by it."""
    return {each.number: each._trial_id for each in study.get_trials(deepcopy=False)}


def is_fixed(trial: optuna.Trial, name: str) -> bool:
    """Whether a parameter was enqueued, or taken over from an earlier try."""
    return name in trial._fixed_params or name in trial._cached_frozen_trial.params


def given_params(trial: FrozenTrial) -> dict[str, Any]:
    """Parameters that a trial has whatever its sampler draws: enqueued ones, and suggested ones."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def fix(trial: optuna.Trial, name: str, value: Any) -> None:
    """Let a running trial be given this value when it suggests a parameter, as if enqueued."""
    trial._fixed_params = {**trial._fixed_params, name: value}


def frozen(trial: optuna.Trial) -> FrozenTrial:
    """The trial as the storage has it now."""
    return trial.study._storage.get_trial(trial._trial_id)


def frozen_in_memory(trial: optuna.Trial) -> FrozenTrial:
    """The trial as this process last saw it, without asking the storage."""
    return trial._cached_frozen_trial


def attach(trial: optuna.Trial, what: object) -> None:
    """Keep something with a trial for as long as the trial lives."""
    trial.__dict__["_lyapopt"] = what


def attached(trial: optuna.Trial) -> Any:
    """What `attach` has kept, or `None`."""
    return trial.__dict__.get("_lyapopt")


def record_heartbeats(study: optuna.Study, trials: Iterable[optuna.Trial]) -> None:
    """Say that trials are running, where the storage keeps that.

    `Study.optimize` starts a thread for each trial; here one thread speaks for all of a group.
    """
    storage = study._storage
    if isinstance(storage, BaseHeartbeat) and is_heartbeat_enabled(storage):
        for trial in trials:
            storage.record_heartbeat(trial._trial_id)


def fail_stale(study: optuna.Study) -> None:
    """Fail trials of others whose heartbeat stopped, as `Study.optimize` does before every trial.

    Whether a worker of ours lives is known better than by its heartbeat, which also stops for a
    while on a machine that is too busy.
    """
    storage = study._storage
    if not isinstance(storage, BaseHeartbeat) or not is_heartbeat_enabled(storage):
        return
    for trial_id in storage._get_stale_trial_ids(study._study_id):
        trial = study._storage.get_trial(trial_id)
        if worker_of(trial) is None:
            end_interrupted(study, trial)
