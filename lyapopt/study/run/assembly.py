"""From a study file to the objects that run it."""

from __future__ import annotations

import builtins
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import optuna
import torch
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from lyapopt.display import one_line
from lyapopt.dynamics import Training
from lyapopt.dynamics.precision import in_dtype
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.errors import UserError
from lyapopt.interruption import interruptible
from lyapopt.probe import Probe
from lyapopt.search import Objective, SearchSpace, SeededSampler
from lyapopt.search.candidate import RunsCandidates, describe, place_of
from lyapopt.search.function_objective import FunctionObjective
from lyapopt.search.probing.building import Build, seeded
from lyapopt.search.training_group import GroupSettings
from lyapopt.space import ConstantParameter
from lyapopt.study.file import BuiltinTask, ClassSpec, CustomTask, StudyFile, import_object
from lyapopt.study.file.load import mistake
from lyapopt.tasks.builder import TaskBuilder


def search_space(file: StudyFile) -> SearchSpace:
    """The search space of a file, constants first, with the options that conditions read."""
    known, variables = file.fixed_params(), file.variables
    read = [name for p in variables.values() for name in p.when if name not in variables]
    constants = [*file.constants, *read]
    return SearchSpace({**{n: ConstantParameter(known.get(n)) for n in constants}, **variables})


def sampler(file: StudyFile, space: SearchSpace) -> BaseSampler:
    """The file's sampler, reseeded for every trial from the study seed."""
    spec = file.sampler_spec
    if any(inner.row.probes for inner in spec.walk()):
        spec = _with_task(spec, {"build": builder(file), "probe": Probe.of(file.probe)}, space)
    # Samplers that go through finitely many points take their grid.
    searched = {name: p for name, p in file.variables.items() if name not in file.steered}
    grid = {name: p.values() for name, p in searched.items() if p.is_finite}
    try:
        base = spec.build(base_dir=file.base_dir, search_space=grid, seed=file.seed)
    except UserError as error:
        raise UserError(f"sampler: {one_line(error)}") from error
    return SeededSampler(cast(BaseSampler, base), file.seed, space.seeds)


def _with_task(spec: ClassSpec, task: Mapping[str, Any], space: SearchSpace) -> ClassSpec:
    """A sampler's description with what probing needs, which a study file does not say."""
    nested = {name: _with_task(inner, task, space) for name, inner in spec.nested.items()}
    kwargs = dict(spec.kwargs)
    if spec.row.probes:
        kwargs.update(task, search_space=space)
    return dataclasses.replace(spec, kwargs=kwargs, nested=nested)


def pruner(file: StudyFile) -> BasePruner:
    """The file's pruner."""
    try:
        return cast(BasePruner, file.pruner_spec.build(base_dir=file.base_dir))
    except UserError as error:
        raise UserError(f"pruner: {one_line(error)}") from error


def builder(file: StudyFile) -> Build:
    """`params -> Training` of the file's task, in its dtype (if it says one) and on its device."""
    dtype = None if file.dtype is None else getattr(torch, file.dtype)
    device = pick_device(file.device)
    match file.task:
        case BuiltinTask(name=name, options=options):
            return TaskBuilder(name, options, dtype or torch.float64, device)
        case CustomTask(build=path, kwargs=kwargs):
            own = _import_seeded(path, file)
            if not callable(own):
                raise UserError(f"task.build: {path} is not a function but {type(own).__name__}")
            build = functools.partial(own, **kwargs)
            own_build = interruptible(build)
            return lambda params: _placed(own_build(params), dtype, device)
    raise UserError("this file has no task")


def _placed(training: Training, dtype: torch.dtype | None, device: str) -> Training:
    if not isinstance(training, Training):
        return training  # refused where it is built, with the reason
    return in_dtype(training, dtype, device)


def pick_device(name: str) -> str:
    """The device by name; `auto` is the first GPU, or the CPU where there is none.

    Raises:
        UserError: If the device is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"device: {name} cannot be used here: {first}") from error
    return name


def objective(
    file: StudyFile,
    space: SearchSpace,
    networks: Sequence[int] | None = None,
) -> RunsCandidates:
    """What a trial of the file does: train its task, or call its own objective.

    Args:
        file: A validated study file.
        space: Its search space.
        networks: As for `Objective`.
    """
    if file.objective is not None:
        own = _import_seeded(file.objective.call, file)
        if not callable(own):
            found = type(own).__name__
            raise UserError(f"objective.call: {file.objective.call} is no function but {found}")
        function = interruptible(functools.partial(own, **file.objective.kwargs))
        worst = [math.inf if name == "minimize" else -math.inf for name in file.all_directions]
        return FunctionObjective(function, seed=file.seed, nan=file.on_failure.nan, worst=worst)
    expected = 2 if file.value == "both" else 1
    if len(file.all_directions) != expected:
        count = len(file.all_directions)
        raise UserError(
            f"directions: value: {file.value} is {expected} value{'s' * (expected > 1)}, and the "
            f"file has {count} direction{'s' * (count > 1)}"
        )
    return Objective(
        builder(file),
        space,
        file.value,
        Probe.of(file.probe),
        file.record,
        seed=file.seed,
        nan=file.on_failure.nan,
        compile=file.compile,
        networks=networks,
        reports=_reports(file),
        stop_at=file.rank_at,
        neighbours="auto" if _is_blind(file.sampler_spec) else "all",
    )


def _reports(file: StudyFile) -> int:
    """How often a trial is evaluated: once where it is ranked and no pruner asks for more.

    An evaluation of the examples that it is trained on costs as much as five steps, and ranking
    needs the last one.
    """
    is_pruned = file.pruner_spec.class_name != "NopPruner"
    return GroupSettings.reports if file.rank_at is None or is_pruned else 1


def _is_blind(sampler: ClassSpec) -> bool:
    """Whether a file's sampler, and all that it holds, is Optuna's and reads no exponents.

    The file decides, not the sampler of the study: a trial that is replayed has another one.
    """
    return all(
        spec.import_path.startswith("optuna.") and not spec.functions for spec in sampler.walk()
    )


def names_of_values(file: StudyFile) -> list[str]:
    """What the values of a file's study are called; none for a function of the user's own."""
    if file.objective is not None:
        return []
    loss = "validation loss" if isinstance(file.task, BuiltinTask) else "loss"
    names = {"loss": [loss], "exponent": ["exponent"], "both": [loss, "exponent"]}
    return names.get(file.value, [file.value])


def _import_seeded(path: str, file: StudyFile) -> Any:
    """A user's object; what its module draws at import (often data) follows from the seed."""
    with seeded(derive_seed(file.seed, "import")):
        return import_object(path, file.base_dir)


def caught_exceptions(file: StudyFile) -> tuple[type[BaseException], ...]:
    """The exceptions of `on_failure.catch`, imported."""
    found: list[type[BaseException]] = []
    for place, name in enumerate(file.on_failure.catch):
        known = getattr(builtins, name, None)
        if known is None:
            path = name if ":" in name else ":".join(name.rsplit(".", 1))
            known = import_object(path, file.base_dir)
        if not (isinstance(known, type) and issubclass(known, BaseException)):
            raise mistake(file, ("on_failure", "catch", place), f"{name} is no exception")
        found.append(known)
    if Exception in found:
        found.append(SystemExit)  # of a user's code: the trial ends, not the study
    return tuple(found)


@dataclass(frozen=True)
class Callbacks:
    """The file's callbacks, imported."""

    functions: tuple[Callable[[optuna.Study, optuna.trial.FrozenTrial], object], ...]

    @classmethod
    def of(cls, file: StudyFile) -> Callbacks:
        """Import the callbacks of a file."""
        functions = tuple(import_object(path, file.base_dir) for path in file.callbacks)
        for place, function in enumerate(functions):
            if not callable(function):
                what = f"{file.callbacks[place]} is not a function but {type(function).__name__}"
                raise mistake(file, ("callbacks", place), what)
        return cls(functions)

    def __call__(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Call the callbacks in the order of the file.

        Raises:
            UserError: If one raises; Optuna knows by then how the trial ended.
        """
        for function in self.functions:
            try:
                function(study, trial)
            except (Exception, SystemExit) as error:
                name = getattr(function, "__qualname__", repr(function))
                what = describe(error)
                raise UserError(f"callbacks: {name} raised {what} {place_of(error)}") from error
