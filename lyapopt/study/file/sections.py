"""The sections of a study file: what pydantic checks of each, key by key.

What the rest of lyapopt takes as it is (`ProbeSettings`, `RecordSettings`, parameters of the search
space) is declared there and only validated here.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    Tag,
    ValidatorFunctionWrapHandler,
    create_model,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from lyapopt.settings import NanPolicy, ProbeSettings, RecordSettings
from lyapopt.space import (
    CategoricalParameter,
    ConstantParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    SeedParameter,
)
from lyapopt.study.file.import_paths import is_import_path
from lyapopt.study.file.messages import describe, did_you_mean
from lyapopt.study.file.values import (
    OWN_ERROR,
    Choices,
    Count,
    CountOrZero,
    ImportPath,
    Scalar,
    Shape,
    WantedValues,
    fail,
)

__all__ = [
    "PARAMETERS",
    "SECTIONS",
    "Budget",
    "ObjectiveSection",
    "OnFailure",
    "Output",
    "ProbeSection",
    "RecordSection",
    "Section",
    "SpaceEntry",
    "keys_of",
]

# No `from __future__ import annotations`, as in `values`.


class Section(BaseModel):
    """A mapping of the study file: unknown keys are errors, and types are taken strictly."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# what is declared outside of the study file

_MODELS: dict[type, type[Section]] = {}


def keys_of(section: type) -> Mapping[str, FieldInfo]:
    """The keys that a section of the file may have, whether it is declared here or elsewhere."""
    if issubclass(section, BaseModel):
        return section.model_fields
    return _MODELS[section].model_fields


class _Declared:
    """Annotates a dataclass that is declared elsewhere: a mapping of the file becomes one.

    Its fields with a `description` are the keys. Not pydantic's own support of dataclasses: with
    strict types that takes no mappings.

    Args:
        target: The dataclass.
        name: What JSON Schema calls the section.
        **types: Of keys that the file has in more ways than the dataclass.
    """

    def __init__(self, target: type, name: str, **types: Any) -> None:
        hints = get_type_hints(target) | types
        fields = [f for f in dataclasses.fields(target) if "description" in f.metadata]
        keys: dict[str, Any] = {f.name: (hints[f.name], _field_info(f)) for f in fields}
        summary = str(target.__doc__).partition("\n")[0]
        self._model = create_model(name, __base__=Section, __doc__=summary, **keys)
        self._target = target
        self._arguments = [field.name for field in fields if field.init]
        _MODELS[target] = self._model

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Called by pydantic when it compiles a field."""
        model = handler.generate_schema(self._model)
        return core_schema.no_info_wrap_validator_function(self._validated, model)

    def _validated(self, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        if isinstance(value, self._target):
            return value
        section = validate(value)
        return self._target(**{name: getattr(section, name) for name in self._arguments})


def _field_info(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return Field(field.default, **field.metadata)
    if field.default_factory is not dataclasses.MISSING:
        return Field(default_factory=field.default_factory, **field.metadata)
    return Field(**field.metadata)


ProbeSection = Annotated[ProbeSettings, _Declared(ProbeSettings, "ProbeSection")]
RecordSection = Annotated[RecordSettings, _Declared(RecordSettings, "Record")]

# the search space

PARAMETERS: Mapping[str, type[Parameter]] = {
    "float": FloatParameter,
    "int": IntParameter,
    "categorical": CategoricalParameter,
    "seed": SeedParameter,
}
"""Parameters by what the file calls their `type`."""


def _parameter(target: type[Parameter], **types: Any) -> _Declared:
    return _Declared(target, target.__name__, when=dict[str, WantedValues], **types)


def _plain_list(value: Any) -> Any:
    return {"choices": value} if isinstance(value, list) else value


def _plain_value(value: Any) -> Any:
    return value if isinstance(value, Parameter) else {"value": value}


def _tag(value: Any) -> str | None:
    if isinstance(value, list):
        return "categorical"
    if isinstance(value, dict):
        name = value.get("type")
        return name if isinstance(name, str) and name in PARAMETERS else None
    return str(getattr(value, "type", "constant")) if isinstance(value, Parameter) else "constant"


SpaceEntry = Annotated[
    Annotated[FloatParameter, _parameter(FloatParameter), Tag("float")]
    | Annotated[IntParameter, _parameter(IntParameter), Tag("int")]
    | Annotated[
        CategoricalParameter,
        _parameter(CategoricalParameter, choices=Choices),
        BeforeValidator(_plain_list),
        Tag("categorical"),
    ]
    | Annotated[SeedParameter, _parameter(SeedParameter), Tag("seed")]
    | Annotated[
        ConstantParameter,
        _parameter(ConstantParameter, value=Scalar),
        BeforeValidator(_plain_value),
        Tag("constant"),
    ],
    Discriminator(_tag, custom_error_type=OWN_ERROR, custom_error_message="an unknown type"),
]
"""One entry of the search space."""

# the other sections


class Budget(Section):
    """A limit on the compute of the whole study, in counted gradients."""

    gradient_evaluations: Count = Field(
        description="One is forward and backward on one minibatch of one trajectory; neighbours, "
        "probes and abandoned trials all count, and so do trainings of promoted trials."
    )


class ObjectiveSection(Section):
    """A user's own objective, `trial -> value`."""

    call: ImportPath = Field(description="The objective: package.module:function.")
    kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments of the objective."
    )


def _exception(value: Any) -> Any:
    if not isinstance(value, str):
        fail(f"expected an exception's name, got {describe(value)}")
    builtin = _builtin_exceptions()
    dotted = re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value) is not None
    if value not in builtin and not dotted and not is_import_path(value):
        message = f"{value[:60]} is no built-in exception"
        other = "another's is package.module:Name, for example torch:OutOfMemoryError"
        fail(message, did_you_mean(value, builtin) or other)
    return value


def _builtin_exceptions() -> list[str]:
    import builtins

    named = vars(builtins).items()
    return [n for n, v in named if isinstance(v, type) and issubclass(v, Exception)]


class OnFailure(Section):
    """What happens when a trial fails."""

    catch: Annotated[
        tuple[Annotated[str, BeforeValidator(_exception), Shape({"type": "string"})], ...],
        Field(strict=False),
    ] = Field(
        default=("Exception",),
        description="Exceptions that fail the trial and not the study; built-in names or "
        "package.module:Name.",
    )
    max_retries: CountOrZero = Field(default=0, description="How often a failed trial is repeated.")
    max_failures: CountOrZero | None = Field(
        default=None, description="Failed trials after which the study stops; null: no limit."
    )
    max_deaths: Count | None = Field(
        default=5,
        description="A trial whose process died so often while it ran counts as failed; null: "
        "no limit.",
    )
    nan: NanPolicy = Field(
        default="prune",
        description="What becomes of a trial whose value is not finite or whose loss has blown up; "
        "a pruned one keeps the value that it was reported with before that, and has none where it "
        "blew up within the probe.",
    )


class Output(Section):
    """What the terminal shows."""

    progress: Literal["auto", "table", "lines", "none"] = Field(
        default="auto", description="A live table on a terminal, else one line a trial."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe message that is shown."
    )
    dashboard: bool = Field(
        default=True,
        description="Whether optuna-dashboard, where it is installed, gets a note, plots and "
        "pictures of the study (of 100 trials, the best 20 among them), every few trials and at "
        "the end.",
    )


SECTIONS: Mapping[str, type] = {
    "probe": ProbeSettings,
    "budget": Budget,
    "objective": ObjectiveSection,
    "on_failure": OnFailure,
    "record": RecordSettings,
    "output": Output,
}
"""Sections that are mappings, by their key."""
