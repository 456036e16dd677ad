"""The one file that touches what Optuna keeps private.

Each function says which private thing it needs and why the public interface does not do.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.storages import RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled
from optuna.trial import FrozenTrial, TrialState

from lyapopt.store.names import FAILED, VERDICT

NUMBER_ATTRIBUTE = "lyapopt:number"
"""User attribute of a trial whose logical number is not Optuna's (after an interruption)."""


def logical_number(trial: FrozenTrial | optuna.Trial) -> int:
    """The number that a trial's randomness follows from.

    It is Optuna's number until a trial is interrupted and run again: the second try has a new
    number in Optuna and keeps the logical one, and so does every trial after it.
    """
    return int(trial.user_attrs.get(NUMBER_ATTRIBUTE, trial.number))


def reseed(sampler: BaseSampler, seed: int) -> None:
    """Set every generator inside a sampler, and inside the samplers that it holds.

    `BaseSampler.reseed_rng` takes no seed, and a sampler that is made anew for a resumed study
    would repeat its first draws; so the states are found by walking over the attributes.
    """
    for state in _random_states(sampler, set()):
        state.rng.seed(seed % 2**32)


def _random_states(holder: Any, seen: set[int]) -> Iterator[LazyRandomState]:
    if id(holder) in seen:
        return
    seen.add(id(holder))
    for value in list(getattr(holder, "__dict__", {}).values()):
        if isinstance(value, LazyRandomState):
            if id(value) not in seen:
                seen.add(id(value))
                yield value
        elif isinstance(value, BaseSampler) or _is_part_of_sampler(value):
            yield from _random_states(value, seen)


def _is_part_of_sampler(value: Any) -> bool:
    """Whether an attribute is one of Optuna's own helper objects, which may hold generators."""
    return type(value).__module__.startswith("optuna.samplers")


class OrderedStudy(optuna.Study):
    """A study that shows its samplers and pruners a history that interruptions do not change.

    A trial that was interrupted is run again under a later number, and a group of trials may have
    been told in part. Samplers see trials in order of their first try, no try that was
    interrupted, and finished trials of the group that is running as still running. Overrides
    `Study._get_trials`, which all samplers and pruners read through; Hyperband, which makes
    studies of its own, is taught to read through it too. What really is there: `every_trial`.
    """

    _group: Container[int] = ()

    @classmethod
    def of(cls, study: optuna.Study) -> OrderedStudy:
        """The same study in this form."""
        ordered = cls(study.study_name, study._storage, study.sampler, study.pruner)
        pruner: object = study.pruner
        while isinstance(pruner, optuna.pruners.BasePruner):
            if isinstance(pruner, optuna.pruners.HyperbandPruner):
                _order_brackets(pruner, ordered)
            pruner = getattr(pruner, "_wrapped_pruner", None)
        return ordered

    @contextmanager
    def running(self, group: Container[int]) -> Iterator[None]:
        """While a group of logical numbers is asked for and trained."""
        self._group = group
        try:
            yield
        finally:
            self._group = ()

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        trials = super()._get_trials(deepcopy=deepcopy, states=None, use_cache=use_cache)
        trials = [trial for trial in trials if not _is_superseded(trial)]
        if any(NUMBER_ATTRIBUTE in trial.user_attrs for trial in trials):
            trials = sorted(trials, key=lambda trial: (logical_number(trial), trial.number))
            trials = [self._as_seen(trial) for trial in trials]
        return trials if states is None else [t for t in trials if t.state in states]

    def _as_seen(self, trial: FrozenTrial) -> FrozenTrial:
        if not trial.state.is_finished() or logical_number(trial) not in self._group:
            return trial
        if trial.state == TrialState.FAIL:
            return trial
        seen = copy.copy(trial)
        seen.state, seen.values = TrialState.RUNNING, None
        return seen


def every_trial(study: optuna.Study) -> list[FrozenTrial]:
    """All trials that the storage has, also those that an `OrderedStudy` hides."""
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def _is_superseded(trial: FrozenTrial) -> bool:
    """Whether a trial was interrupted: it is run again under its logical number."""
    is_ours = worker_of(trial) is not None
    return is_ours and trial.state == TrialState.FAIL and trial.user_attrs.get(VERDICT) != FAILED


def _order_brackets(pruner: optuna.pruners.HyperbandPruner, study: OrderedStudy) -> None:
    """Let Hyperband place trials by logical number, and its brackets see the ordered history.

    It takes a trial's bracket from Optuna's number, and the study that it shows to a bracket reads
    the storage without asking ours.
    """
    bracket_of, create = pruner._get_bracket_id, pruner._create_bracket_study

    def bracket_id(any_study: optuna.Study, trial: FrozenTrial) -> int:
        placed = copy.copy(trial)
        placed.number = logical_number(trial)
        return bracket_of(any_study, placed)

    def bracket_study(any_study: optuna.Study, bracket: int) -> optuna.Study:
        made: Any = create(any_study, bracket)

        def get_trials(
            deepcopy: bool = True, states: Container[TrialState] | None = None
        ) -> list[FrozenTrial]:
            trials = study._get_trials(deepcopy, states)
            return [trial for trial in trials if bracket_id(made, trial) == bracket]

        made._get_trials, made.get_trials = study._get_trials, get_trials
        return made  # type: ignore[no-any-return]  # what Optuna makes is typed as Any

    own: Any = pruner
    own._get_bracket_id, own._create_bracket_study = bracket_id, bracket_study


@contextmanager
def inside_optimize(study: optuna.Study) -> Iterator[None]:
    """Let `ask` and `tell` behave as inside `Study.optimize`.

    `GridSampler`, `BruteForceSampler` and `MaxTrialsCallback` call `study.stop()`, which raises
    outside of it; and nested runs are to be refused.
    """
    study._thread_local.in_optimize_loop = True
    study._stop_flag = False
    try:
        yield
    finally:
        study._thread_local.in_optimize_loop = False


def study_is_there(study: optuna.Study) -> bool:
    """Whether the storage still has the study; somebody may have deleted or replaced it."""
    try:
        return study._storage.get_study_id_from_name(study.study_name) == study._study_id
    except KeyError:
        return False


def stop_was_asked(study: optuna.Study) -> bool:
    """Whether a sampler or a callback has called `study.stop()`."""
    return bool(study._stop_flag)


WORKER_ATTRIBUTE = "lyapopt:worker"
"""System attribute of a trial: the worker that runs it. Trials without it are not ours."""


_GRID_ATTRIBUTES = ("grid_id", "search_space")


def create_trial(
    study: optuna.Study,
    number: int,
    worker: str,
    params: Mapping[str, Any] | None = None,
    carried: Mapping[str, Any] | None = None,
) -> int:
    """Create a running trial with a logical number, and give its id; nothing is sampled yet.

    In one transaction, so that no crash leaves a trial of which nobody knows whose it is; `ask`
    would set the attributes later. The caller keeps other workers from creating at the same time.

    Args:
        study: The study.
        number: Its logical number.
        worker: Who runs it.
        params: Parameters that are fixed.
        carried: System attributes of an earlier try, of which a sampler's place in its grid is
            taken over.
    """
    study._thread_local.cached_all_trials = None
    count = study._storage.get_n_trials(study._study_id)
    system_attrs: dict[str, Any] = {WORKER_ATTRIBUTE: worker}
    if params:
        system_attrs["fixed_params"] = dict(params)
    system_attrs |= {n: v for n, v in (carried or {}).items() if n in _GRID_ATTRIBUTES}
    template = optuna.trial.create_trial(
        state=TrialState.RUNNING,
        user_attrs={} if count == number else {NUMBER_ATTRIBUTE: number},
        system_attrs=system_attrs,
    )
    trial_id = study._storage.create_new_trial(study._study_id, template_trial=template)
    if count == number and study._storage.get_trial(trial_id).number != number:
        # Somebody who knows nothing of us has created one at the same time.
        study._storage.set_trial_user_attr(trial_id, NUMBER_ATTRIBUTE, number)
    return trial_id


def take_waiting(study: optuna.Study, number: int, worker: str) -> int | None:
    """Take the first trial that was enqueued, and give its id; `None` if there is none."""
    storage = study._storage
    for trial in storage.get_all_trials(study._study_id, deepcopy=False):
        if trial.state != TrialState.WAITING:
            continue
        try:
            storage.set_trial_system_attr(trial._trial_id, WORKER_ATTRIBUTE, worker)
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


def begin_again(study: optuna.Study, trial_id: int) -> optuna.Trial:
    """`begin_trial` for one that repeats an earlier try, parameters and all.

    `QMCSampler` counts its draws in the study; the try that is repeated was counted then.
    """
    before = study._storage.get_study_system_attrs(study._study_id)
    trial = begin_trial(study, trial_id)
    for name, value in before.items():
        if name.startswith("qmc:"):
            set_study_attribute(study, name, value)
    return trial


def worker_of(trial: FrozenTrial) -> str | None:
    """Who runs a trial, or ran it; `None` if it is not one of ours."""
    return trial.system_attrs.get(WORKER_ATTRIBUTE)


def study_key(study: optuna.Study) -> str:
    """What tells a study from others in its storage, and from copies of it."""
    return f"{study._study_id}/{study.study_name}"


def get_study_attribute(study: optuna.Study, name: str) -> Any:
    """A system attribute of the study: Optuna 5 has no public way to them."""
    return study._storage.get_study_system_attrs(study._study_id).get(name)


def set_study_attribute(study: optuna.Study, name: str, value: Any) -> None:
    """Set a system attribute of the study."""
    study._storage.set_study_system_attr(study._study_id, name, value)


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


_OPERATIONS = (
    "create_new_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_all_studies",
    "_create_new_trial",
    "set_trial_param",
    "_set_trial_param",
    "get_trial_id_from_study_id_trial_number",
    "get_trial_number_from_id",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "get_trial",
    "_get_trials",
    "_get_best_trial_id",
    "get_n_trials",
    "record_heartbeat",
    "_get_stale_trial_ids",
)


def intercept(storage: RDBStorage, around: Callable[[Callable[[], Any]], Any]) -> None:
    """Let every operation of a storage go through `around`, which may attempt it several times.

    The storage's methods are replaced one by one, so that it stays an `RDBStorage`: Optuna asks
    for that in places. Most operations may be repeated as they are; one that finishes a trial may
    have succeeded although its answer was lost, and is asked for.
    """
    for name in _OPERATIONS:
        operation = getattr(storage, name)
        setattr(storage, name, functools.partial(_around, around, operation))
    finish = storage.set_trial_state_values

    def set_trial_state_values(
        trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        attempts = 0

        def attempt() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                return finish(trial_id, state=state, values=values)
            except optuna.exceptions.UpdateFinishedTrialError:
                if attempts > 1 and storage.get_trial(trial_id).state == state:
                    return True
                raise

        return bool(around(attempt))

    setattr(storage, "set_trial_state_values", set_trial_state_values)  # noqa: B010 (mypy refuses to assign to a method)


def _around(
    around: Callable[[Callable[[], Any]], Any],
    operation: Callable[..., Any],
    *args: Any,
    **kwargs: Any,
) -> Any:
    return around(lambda: operation(*args, **kwargs))


def set_attribute(study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Set a user attribute of a running trial of which there is no `Trial` object any more."""
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def end_interrupted(study: optuna.Study, trial: FrozenTrial) -> None:
    """Fail a trial that is run again, unless it has ended, without a word to the sampler.

    To be told of its last point, however that ended, `GridSampler` stops the study.
    """
    with suppress(optuna.exceptions.UpdateFinishedTrialError):
        study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)


def identifier(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> tuple[str, int]:
    """What tells a trial from all others in this process, also before it has a number."""
    return study.study_name, trial._trial_id


def is_fixed(trial: optuna.Trial, name: str) -> bool:
    """Whether a parameter was enqueued, or taken over from an earlier try."""
    return name in trial._fixed_params or name in trial._cached_frozen_trial.params


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value is one of a distribution's."""
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def frozen(trial: optuna.Trial) -> FrozenTrial:
    """The trial as the storage has it now."""
    return trial.study._storage.get_trial(trial._trial_id)


def frozen_in_memory(trial: optuna.Trial) -> FrozenTrial:
    """The trial as this process last saw it, without asking the storage."""
    return trial._cached_frozen_trial


def close_storage(study: optuna.Study) -> None:
    """Close the connections of a study's storage; it opens new ones when it is used again.

    Left to the garbage collector, they would count against a server's limit for a while.
    """
    study._storage.remove_session()
    backend = getattr(study._storage, "_backend", study._storage)
    if isinstance(backend, RDBStorage):
        backend.engine.dispose()


def remove_session(study: optuna.Study) -> None:
    """Give the thread's database session back."""
    study._storage.remove_session()


def grid_place(sampler: BaseSampler, number: int) -> dict[str, Any]:
    """System attributes that put a trial at its point of a grid, empty for other samplers.

    `GridSampler` begins with the point of the trial's number; after an interruption that is no
    longer the logical one.
    """
    if not isinstance(sampler, optuna.samplers.GridSampler) or number >= sampler._n_min_trials:
        return {}
    return {"grid_id": number, "search_space": sampler._search_space}


def grid_points_left(sampler: BaseSampler, study: optuna.Study) -> int | None:
    """Points that a `GridSampler` has not begun, or `None` for other samplers.

    Asked for more than it has left, it repeats points that are running.
    """
    if not isinstance(sampler, optuna.samplers.GridSampler):
        return None
    begun = {
        trial.system_attrs["grid_id"]
        for trial in study.get_trials(deepcopy=False)
        if "grid_id" in trial.system_attrs and not _is_superseded(trial)
    }
    return sampler._n_min_trials - len(begun)


def remember_exhaustion(sampler: BaseSampler, study: optuna.Study) -> None:
    """Let a brute-force search whose last trial found nothing left say so again.

    `BruteForceSampler` stops a study when it is told a trial, and a study that is opened again
    would repeat a point.
    """
    ended = [
        trial
        for trial in every_trial(study)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]
    if isinstance(sampler, optuna.samplers.BruteForceSampler) and ended:
        sampler.after_trial(study, ended[-1], ended[-1].state, ended[-1].values)


def draw_relative(
    sampler: BaseSampler,
    study: optuna.Study,
    trial: FrozenTrial,
    space: dict[str, BaseDistribution],
    count: int,
) -> list[dict[str, Any]]:
    """Draw a sampler's relative parameters `count` times.

    `TPESampler` would fit its estimators to the whole history for each; here it does so once. The
    first draw is what it would give, the most promising of many from its density of good trials;
    the others are draws from that density.
    """
    if type(sampler) is not optuna.samplers.TPESampler or sampler._group:
        return [sampler.sample_relative(study, trial, space) for _ in range(count)]
    good: list[Any] = []
    once = copy.copy(sampler)  # with the same generator; threads do not see the attribute below

    def remember(samples: Any, below: Any, above: Any) -> Any:
        good.append(below)
        return sampler._compute_acquisition_func(samples, below, above)

    setattr(once, "_compute_acquisition_func", remember)  # noqa: B010 (mypy refuses to assign to a method)
    drawn = [once.sample_relative(study, trial, space)]
    if not good or count == 1:  # still in its random start
        return drawn * count
    samples = good[0].sample(sampler._rng.rng, count - 1)
    others = [
        {name: d.to_external_repr(samples[name][k].item()) for name, d in space.items()}
        for k in range(count - 1)
    ]
    return drawn + others


def bracket_study(study: optuna.Study) -> optuna.Study:
    """The study as pruners and samplers see it inside a Hyperband bracket: most of it is hidden."""
    hyperband = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9)
    hyperband._try_initialization(study)
    hyperband._n_brackets = 1
    hyperband._trial_allocation_budgets = [1]
    hyperband._total_trial_allocation_budget = 1
    inner = optuna.Study(study.study_name, study._storage, study.sampler, hyperband)
    return hyperband._create_bracket_study(inner, 0)
