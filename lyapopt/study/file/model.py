"""`StudyFile`: everything a study file says, checked and typed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationInfo,
)

from lyapopt.settings import ProbeSettings, RecordSettings, Value
from lyapopt.space import AnyParameter, ConstantParameter, Parameter, in_order
from lyapopt.study.file.classes import ClassSpec, resolve_class
from lyapopt.study.file.document import Document, Report
from lyapopt.study.file.sections import (
    Budget,
    ObjectiveSection,
    OnFailure,
    Output,
    ProbeSection,
    RecordSection,
    Section,
    SpaceEntry,
    keys_of,
)
from lyapopt.study.file.task_section import BuiltinTask, CustomTask, TaskSection, resolve_task
from lyapopt.study.file.values import (
    Count,
    CountOrZero,
    Device,
    ImportPath,
    Shape,
    SqlUrl,
    StorageUrl,
    Timeout,
    TrialsAtOnce,
    WarmStart,
    absolute_url,
    fail,
    warm_start_parts,
)
from lyapopt.tasks.catalogue import TASKS

__all__ = ["Direction", "StudyFile"]

Direction = Literal["minimize", "maximize"]
DEFAULT_SAMPLER = ClassSpec("optuna.samplers:TPESampler")
DEFAULT_PRUNER = ClassSpec("optuna.pruners:MedianPruner")
NO_PRUNER = ClassSpec("optuna.pruners:NopPruner")
AUTO = ClassSpec("auto")
"""Stands for a sampler or pruner that is chosen when the study begins."""


def _resolved(value: Any, info: ValidationInfo) -> Any:
    """Sampler, pruner and task are resolved against a report that holds all their mistakes."""
    if value is None or isinstance(value, ClassSpec | BuiltinTask | CustomTask):
        return value
    name = str(info.field_name)
    if value == "auto" and name in ("sampler", "pruner"):
        return AUTO
    shared = info.context if isinstance(info.context, Report) else None
    report = shared or Report(Document({name: value}))
    before = len(report.issues)
    result: Any
    if name == "task":
        result = resolve_task(value, (name,), report)
    else:
        result = resolve_class("sampler" if name == "sampler" else "pruner", value, (name,), report)
    if shared is None and len(report.issues) > before:
        fail("; ".join(f"{i.path}: {i.message}" for i in report.issues))
    return result


_ClassSpec = Annotated[ClassSpec, PlainValidator(_resolved), Shape({"x-definition": "Class"})]
_Task = Annotated[TaskSection, PlainValidator(_resolved), Shape({"x-definition": "Task"})]


class StudyFile(Section):
    """A study: what is searched, how it is measured, and where the results go."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    study_name: str = Field(
        default="",
        min_length=1,
        max_length=500,
        description="Name of the study in the storage; the file's name if left out.",
    )
    storage: StorageUrl = Field(
        description="Where results go: sqlite:///path, postgresql+psycopg://..., "
        "mysql+pymysql://..., journal:///path, grpc://host:port."
    )
    load_if_exists: bool = Field(
        default=True, description="Go on with a study of that name instead of failing."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Everything random follows from it.")
    direction: Direction | None = Field(
        default=None, description="What to do with the value; minimize if left out."
    )
    directions: Annotated[tuple[Direction, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None, description="One for each value, where there are several."
    )
    task: _Task | None = Field(default=None, description="What is trained.")
    objective: ObjectiveSection | None = Field(
        default=None, description="Instead of a task: a function trial -> value."
    )
    search_space: dict[str, SpaceEntry] = Field(
        default_factory=dict,
        description="Parameter -> what it may be; a scalar is a constant, a list is categorical.",
    )
    probe: ProbeSection = Field(
        default_factory=ProbeSettings, description="How the exponent is measured."
    )
    value: Value = Field(
        default="loss", description="What a trial returns; both is loss and exponent."
    )
    promote: CountOrZero = Field(
        default=0,
        description="With value: exponent or rank_at, the best so many are trained in full, in a "
        "study of their own that is named after this one with -promoted behind it.",
    )
    rank_at: Count | None = Field(
        default=None,
        description="Steps after which every training is stopped and takes its value, its schedule "
        "as it is; with promote, the best are then trained in full.",
    )
    sampler: _ClassSpec | None = Field(
        default_factory=lambda: AUTO,
        description="Proposes parameters: a name, or name and arguments; auto, which is the "
        "default, chooses from task, space and budget, and whether trials are ranked.",
    )
    pruner: _ClassSpec | None = Field(
        default_factory=lambda: AUTO,
        description="Stops trials: a name, or name and arguments; auto, which is the default.",
    )
    warm_start: WarmStart | None = Field(
        default=None,
        description="STORAGE#NAME: completed trials of another study that the sampler begins with; "
        "copied when the study begins, and none of its own.",
    )
    n_trials: Count | None = Field(
        default=None, description="Trials in the study, so that running again does the remainder."
    )
    timeout: Timeout = Field(default=None, description="Seconds, or 20m, 1h30m, 45s, 2d.")
    budget: Budget | None = Field(default=None, description="A limit in counted gradients.")
    trials_at_once: TrialsAtOnce = Field(
        default=None, description="Trials that train together; auto or null lets us choose."
    )
    workers: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=1, description="Processes on this machine that share the storage."
    )
    device: Device = Field(default="auto", description="auto, cpu, cuda, cuda:0, mps.")
    dtype: Literal["float32", "float64"] | None = Field(
        default=None,
        description="Precision of the training; by default that of your own network, and float64 "
        "of a built-in task. It is measured in float64 in any case.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto", description="Whether steps are compiled by torch.compile."
    )
    store: SqlUrl | None = Field(
        default=None, description="A database of our own, where the storage has no SQL."
    )
    enqueue: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = Field(
        default=(), description="Parameters of trials to try first."
    )
    on_failure: OnFailure = Field(
        default_factory=OnFailure, description="What happens when a trial fails."
    )
    record: RecordSection = Field(
        default_factory=RecordSettings, description="What is stored of each trajectory."
    )
    callbacks: Annotated[tuple[ImportPath, ...], Field(strict=False)] = Field(
        default=(), description="Functions (study, trial) -> None, called after each trial."
    )
    output: Output = Field(default_factory=Output, description="What the terminal shows.")

    _source: FilePath | None = PrivateAttr(default=None)
    _written: dict[str, Any] | None = PrivateAttr(default=None)
    _chosen: Mapping[str, Any] | None = PrivateAttr(default=None)

    @property
    def chosen(self) -> Mapping[str, Any] | None:
        """What was chosen where the file leaves it open, once that is done (`auto`)."""
        return self._chosen

    @property
    def source(self) -> FilePath | None:
        """The file's path, None for a study that was made in Python."""
        return self._source

    @property
    def base_dir(self) -> FilePath | None:
        """The file's folder, in which import paths are looked up first."""
        return None if self._source is None else self._source.resolve().parent

    def definition(self) -> str | None:
        """What the file says, as JSON, but where results go: none of a study made in Python."""
        if self._written is None:
            return None
        data = {k: v for k, v in self._written.items() if k not in _PLACES}
        data["study_name"] = self.study_name
        source = None if self._source is None else str(self._source.resolve())
        return json.dumps({"source": source, "file": data}, sort_keys=True)

    def resolved(self) -> "StudyFile":
        """The same study for a process in another folder: with absolute paths."""
        copy = self.model_copy(update={"storage": absolute_url(self.storage)})
        if self.store is not None:
            copy = copy.model_copy(update={"store": absolute_url(self.store)})
        if self.warm_start is not None:
            url, name = warm_start_parts(self.warm_start)
            copy = copy.model_copy(update={"warm_start": f"{absolute_url(url)}#{name}"})
        copy._source = None if self._source is None else self._source.resolve()
        return copy

    @property
    def all_directions(self) -> tuple[Direction, ...]:
        """The direction of each value: `direction` and `directions` in one."""
        return self.directions or (self.direction or "minimize",)

    @property
    def sampler_spec(self) -> ClassSpec:
        """The sampler; `null` is Optuna's default, TPE, and so is one not chosen yet."""
        return DEFAULT_SAMPLER if self.sampler in (None, AUTO) else self.sampler

    @property
    def steered(self) -> frozenset[str]:
        """Parameters that are steered, which no sampler under the steering one proposes.

        Where only the first trials are steered, it proposes all.
        """
        specs = [s for s in self.sampler_spec.walk() if s.class_name == "EdgeOfChaosSampler"]
        return frozenset(
            str(spec.kwargs.get("steer", "lr"))
            for spec in specs
            if spec.kwargs.get("n_steered_trials") is None
        )

    @property
    def pruner_spec(self) -> ClassSpec:
        """The pruner; `null` prunes nothing, and nothing prunes studies of several values."""
        if self.pruner == AUTO:  # not chosen yet
            return NO_PRUNER if len(self.all_directions) > 1 else DEFAULT_PRUNER
        return self.pruner or NO_PRUNER

    @property
    def constants(self) -> dict[str, Any]:
        """Parameters of the search space that are the same in every trial, with their values."""
        space = self.search_space.items()
        return {name: p.value for name, p in space if isinstance(p, ConstantParameter)}

    @property
    def variables(self) -> dict[str, AnyParameter]:
        """What is searched, each parameter after those that its condition reads."""
        space = in_order(self.search_space).items()
        return {name: p for name, p in space if not isinstance(p, ConstantParameter)}

    def models(self, task: BuiltinTask) -> list[str]:
        """The models of a built-in task that a trial may have."""
        searched = self.search_space.get("model")
        values = getattr(searched, "choices", (getattr(searched, "value", None),))
        known = [value for value in values if value in TASKS[task.name].models]
        return list(dict.fromkeys([task.model, *known]))

    def fixed_params(self) -> dict[str, Any]:
        """What every trial's parameters start from: the task's options, then the constants."""
        if isinstance(self.task, BuiltinTask):
            base = self.task.params(self.models(self.task))
        else:
            base = dict(self.task.kwargs) if self.task is not None else {}
        return {**base, **self.constants}

    def digest(self) -> str:
        """A hash of what defines the study's results, 16 hexadecimal digits.

        Where results go, how many trials there are, how fast and with what output they run is left
        out: a study may be resumed under another budget or on another device. Values that are the
        default do not count, so that a later version with more keys gives old files their digest.
        """
        kept = _plain(self, sparse=True)
        for name in (*_NOT_IN_DIGEST, "direction"):
            kept.pop(name, None)
        if kept.get("dtype") == "float64":  # which was the default once
            del kept["dtype"]
        kept["directions"] = list(self.all_directions)
        kept["sampler"] = self.sampler_spec.as_dict()
        kept["pruner"] = self.pruner_spec.as_dict()
        failure = kept.pop("on_failure", {})
        kept["on_failure"] = {k: failure[k] for k in ("nan", "max_retries") if k in failure}
        if isinstance(self.task, BuiltinTask):
            defaults = self.task.defaults()
            kept["task"] = {
                k: v
                for k, v in self.task.as_dict().items()
                if k not in defaults or v != defaults[k]
            }
        text = json.dumps(kept, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """The whole study as plain data, defaults filled in."""
        plain: dict[str, Any] = _plain(self)
        plain["sampler"] = self.sampler_spec.as_dict()
        plain["pruner"] = self.pruner_spec.as_dict()
        plain["directions"] = list(self.all_directions)
        plain.pop("direction")
        return plain


_PLACES = ("storage", "store", "warm_start")
_NOT_IN_DIGEST = (
    "study_name",
    "storage",
    "store",
    "load_if_exists",
    "warm_start",
    "n_trials",
    "timeout",
    "budget",
    "workers",
    "device",
    "compile",
    "record",
    "callbacks",
    "output",
)


def _plain(value: Any, *, sparse: bool = False) -> Any:
    """Lists, mappings and scalars; `sparse` leaves out the fields that have their default."""
    if isinstance(value, BaseModel | ProbeSettings | RecordSettings | Parameter):
        fields = keys_of(type(value)).items()
        return {
            name: _plain(getattr(value, name), sparse=sparse)
            for name, field in fields
            if not sparse
            or name == "type"
            or getattr(value, name) != field.get_default(call_default_factory=True)
        }
    if isinstance(value, BuiltinTask | CustomTask | ClassSpec):
        return value.as_dict()
    if isinstance(value, dict):
        return {name: _plain(item, sparse=sparse) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, sparse=sparse) for item in value]
    return value
