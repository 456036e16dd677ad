"""The sections of a study file and the values in them: what pydantic checks, key by key.

What the rest of lyapopt takes as it is (`ProbeSettings`, `RecordSettings`, parameters of the search
space) is declared there and only validated here.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NoReturn, get_type_hints

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
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from lyapopt.settings import COUNT, NanPolicy, ProbeSettings, RecordSettings
from lyapopt.space import (
    CategoricalParameter,
    ConstantParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    SeedParameter,
)
from lyapopt.study.file.import_paths import import_path_hint, is_import_path
from lyapopt.study.file.messages import describe, did_you_mean
from lyapopt.study.file.storage_url import storage_problem

__all__ = [
    "OWN_ERROR",
    "PARAMETERS",
    "SECTIONS",
    "Budget",
    "Count",
    "CountOrZero",
    "Device",
    "ImportPath",
    "ObjectiveSection",
    "OnFailure",
    "Output",
    "ProbeSection",
    "RecordSection",
    "Section",
    "Shape",
    "SpaceEntry",
    "SqlUrl",
    "StorageUrl",
    "Timeout",
    "TrialsAtOnce",
    "fail",
    "keys_of",
    "parse_duration",
]

# The modules of pydantic models go without `from __future__ import annotations`: pydantic would
# compile every annotation once more, and checking a file must answer at once.

OWN_ERROR = "lyapopt"
"""Type of validation errors whose message is already in the user's words."""


class Section(BaseModel):
    """A mapping of the study file: unknown keys are errors, and types are taken strictly."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Shape:
    """How a field looks in JSON Schema.

    As `pydantic.WithJsonSchema`, whose module takes long to import and is needed for nothing else.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Called by pydantic when the JSON Schema is made."""
        return dict(self.schema)


def fail(message: str, hint: str | None = None) -> NoReturn:
    """Refuses a value with a message of our own.

    Raises:
        PydanticCustomError: always.
    """
    raise PydanticCustomError(OWN_ERROR, "{text}", {"text": message, "hint": hint})


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd]\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def parse_duration(text: str) -> float | None:
    """Seconds of a duration such as `20m`, `1h30m`, `45s`, `2d`; None if it is none.

    >>> parse_duration("1h30m"), parse_duration("2d"), parse_duration("soon")
    (5400.0, 172800.0, None)
    """
    if len(text) > 40 or not _DURATION.fullmatch(text.strip()):
        return None
    return float(sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text)))


def _timeout(value: Any) -> Any:
    expected = "seconds, or a duration such as 20m, 1h30m, 45s or 2d"
    if isinstance(value, str):
        seconds = parse_duration(value)
        if seconds is None:
            fail(f"expected {expected}, got {describe(value)}")
        value = seconds
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e10:
        fail(f"expected {expected}, got {describe(value)}")
    return float(value)


def _import_path(value: Any) -> Any:
    if not isinstance(value, str) or not is_import_path(value):
        hint = import_path_hint(value) if isinstance(value, str) else None
        fail(f"expected an import path, package.module:name, got {describe(value)}", hint)
    return value


def _device(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d{1,3})?", value):
        hint = "did you mean cuda?" if value in ("gpu", "GPU") else None
        fail(f"expected auto, cpu, cuda, cuda:0, mps or xpu, got {describe(value)}", hint)
    return value


def _trials_at_once(value: Any) -> Any:
    if value is None or value == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
        fail(f"expected a whole number of at least 1, or auto, got {describe(value)}")
    return value


def _url(sql_only: bool) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, str):
            fail(f"expected a URL such as sqlite:///runs/study.db, got {describe(value)}")
        problem = storage_problem(value, sql_only=sql_only)
        if problem is not None:
            fail(*problem)
        return value

    return check


def _schema(*kinds: str, **extra: Any) -> Shape:
    return Shape({"type": list(kinds) if len(kinds) > 1 else kinds[0], **extra})


Timeout = Annotated[
    float | None,
    BeforeValidator(_timeout),
    _schema("number", "string", "null", examples=["20m", "1h30m", 600]),
]
ImportPath = Annotated[
    str,
    BeforeValidator(_import_path),
    _schema("string", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"),
]
Device = Annotated[
    str,
    BeforeValidator(_device),
    _schema(
        "string", pattern=r"^(auto|cpu|mps|(cuda|xpu)(:\d{1,3})?)$", examples=["auto", "cuda:0"]
    ),
]
TrialsAtOnce = Annotated[
    int | None,
    BeforeValidator(_trials_at_once),
    Shape({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}, {"type": "null"}]}),
]
StorageUrl = Annotated[
    str,
    BeforeValidator(_url(sql_only=False)),
    _schema("string", examples=["sqlite:///runs/study.db"]),
]
SqlUrl = Annotated[
    str,
    BeforeValidator(_url(sql_only=True)),
    _schema("string", examples=["sqlite:///runs/lyapopt.db"]),
]

Count = Annotated[int, Field(**COUNT)]
"""A whole number of at least 1."""
CountOrZero = Annotated[int, Field(ge=0, le=10**15)]
"""A whole number of at least 0."""


def _scalar(value: Any) -> Any:
    if isinstance(value, list | dict):
        fail(f"expected a number, a string, true, false or null, got {describe(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        fail(f"expected a finite number, got {describe(value)}")
    if isinstance(value, int) and abs(value) >= 2**63:
        fail("a number of more than 64 bits cannot be stored")
    return value


def _values(value: Any) -> Any:
    if value == []:
        fail("expected a value, or a list of values, got an empty list")
    return value if isinstance(value, list) else [value]


_SCALAR_SCHEMA = {"type": ["number", "string", "boolean", "null"]}
_Scalar = Annotated[Any, BeforeValidator(_scalar), Shape(_SCALAR_SCHEMA)]
_Choices = Annotated[tuple[_Scalar, ...], Field(strict=False)]
_Values = Annotated[
    tuple[_Scalar, ...],
    BeforeValidator(_values),
    Field(strict=False),
    Shape({"anyOf": [_SCALAR_SCHEMA, {"type": "array", "items": _SCALAR_SCHEMA, "minItems": 1}]}),
]

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


def _field_info(field: "dataclasses.Field[Any]") -> Any:
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
    return _Declared(target, target.__name__, when=dict[str, _Values], **types)


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
        _parameter(CategoricalParameter, choices=_Choices),
        BeforeValidator(_plain_list),
        Tag("categorical"),
    ]
    | Annotated[SeedParameter, _parameter(SeedParameter), Tag("seed")]
    | Annotated[
        ConstantParameter,
        _parameter(ConstantParameter, value=_Scalar),
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
        "probes and abandoned trials all count."
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
        default="prune", description="What becomes of a trial whose value is not finite."
    )


class Output(Section):
    """What the terminal shows."""

    progress: Literal["auto", "table", "lines", "none"] = Field(
        default="auto", description="A live table on a terminal, else one line a trial."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe message that is shown."
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
