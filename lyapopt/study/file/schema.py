"""JSON Schema (Draft 7) of the study file, for completion and checking in editors.

An editor's check is coarser than ours: it knows types and names, not what excludes what.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from lyapopt.registry import REGISTRY
from lyapopt.study.file.model import StudyFile
from lyapopt.study.file.values import SCALAR_SCHEMA
from lyapopt.tasks.catalogue import TASKS, options_of
from lyapopt.tasks.options import Option

__all__ = ["json_schema", "json_schema_text"]

Schema: TypeAlias = dict[str, Any]

_DRAFT = "http://json-schema.org/draft-07/schema#"
_ENVIRONMENT = {
    "type": "string",
    "pattern": r"\$\{[A-Za-z_]\w*(:-[^}]*)?\}",
    "description": "${NAME} or ${NAME:-default}, from the environment.",
}


def json_schema() -> Schema:
    """The schema as `lyapopt schema` prints it.

    >>> json_schema()["$schema"]
    'http://json-schema.org/draft-07/schema#'
    """
    raw = StudyFile.model_json_schema(ref_template="#/definitions/{model}")
    definitions: Schema = raw.pop("$defs", {})
    for name in ("FloatParameter", "IntParameter", "CategoricalParameter", "SeedParameter"):
        definitions[name]["required"] = ["type", *definitions[name].get("required", [])]
    definitions["ConstantParameter"] = {**SCALAR_SCHEMA, "description": "The same in every trial."}
    definitions["CategoricalList"] = {
        "type": "array",
        "items": SCALAR_SCHEMA,
        "minItems": 1,
        "description": "A choice between these values.",
    }
    _entries(raw).append({"$ref": "#/definitions/CategoricalList"})
    definitions["Class"] = _class()
    definitions["Task"] = _task()
    definitions["Environment"] = _ENVIRONMENT
    raw["definitions"] = dict(sorted(definitions.items()))
    raw["properties"]["study_name"].pop("default", None)
    schema: Schema = _without_titles(_with_references(raw))
    return {"$schema": _DRAFT, "title": "lyapopt study file", **schema}


def json_schema_text() -> str:
    """The schema as it is committed: indented, with a final line end."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _entries(raw: Schema) -> list[Any]:
    """The alternatives of an entry of the search space."""
    entry = raw["properties"]["search_space"]["additionalProperties"]
    entry["anyOf"] = entry.pop("oneOf", None) or entry["anyOf"]
    alternatives: list[Any] = entry["anyOf"]
    return alternatives


def _class() -> Schema:
    """A sampler or pruner: a name, or a mapping with a name and keyword arguments."""
    names = [row.name for role in ("sampler", "pruner") for row in REGISTRY[role]]
    name = {
        "anyOf": [{"enum": ["auto", *names]}, {"type": "string"}],
        "description": "auto, one of ours or of Optuna's, or package.module:Class.",
    }
    nested = {"anyOf": [{"$ref": "#/definitions/Class"}, {"type": "null"}]}
    mapping = {
        "type": "object",
        "properties": {"name": name, "base": nested, "wrapped": nested},
        "required": ["name"],
    }
    return {"anyOf": [name, mapping], "description": "A sampler or a pruner."}


def _task() -> Schema:
    tasks: list[Schema] = [_builtin(name) for name in TASKS]
    own = {
        "type": "object",
        "description": "A task of your own.",
        "properties": {
            "build": {
                "type": "string",
                "pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
                "description": "params -> lyapopt.Training, as package.module:function.",
            },
            "kwargs": {"type": "object", "description": "Parameters that are always the same."},
        },
        "required": ["build"],
        "additionalProperties": False,
    }
    return {"anyOf": [{"enum": list(TASKS)}, *tasks, own]}


def _builtin(task: str) -> Schema:
    entry = TASKS[task]
    options = options_of(task, entry.models).values()
    return {
        "type": "object",
        "description": entry.help,
        "properties": {"name": {"const": task}, **{o.name: _option(o) for o in options}},
        "required": ["name"],
        "additionalProperties": False,
    }


def _option(option: Option) -> Schema:
    schema = {**_option_type(option), "description": option.help}
    if option.default is not None:
        schema["default"] = option.default
    if option.nullable:
        description = schema.pop("description")
        schema = {"anyOf": [schema, {"type": "null"}], "description": description}
    return schema


def _option_type(option: Option) -> Schema:
    bounds: Schema = {}
    if option.low is not None:
        bounds["exclusiveMinimum" if option.low_open else "minimum"] = option.low
    if option.high is not None:
        bounds["exclusiveMaximum" if option.high_open else "maximum"] = option.high
    if option.type == "choice":
        return {"enum": list(option.choices)}
    if option.type == "bool":
        return {"type": "boolean"}
    if option.type == "float":
        return {"type": "number", **bounds}
    item = {"type": "number" if option.type == "pair" else "integer", **bounds}
    if option.type == "pair":
        return {"type": "array", "items": item, "minItems": 2, "maxItems": 2}
    if option.type == "ints":
        length = {"minItems": option.length, "maxItems": option.length} if option.length else {}
        return {"anyOf": [item, {"type": "array", "items": item, **length}]}
    return item


def _with_references(schema: Any) -> Any:
    """Lets `${ENV}` stand for numbers and names too: it is filled in before values are read."""
    if isinstance(schema, list):
        return [_with_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "x-definition" in schema:
        return {"$ref": f"#/definitions/{schema['x-definition']}"}
    inner = {key: _with_references(value) for key, value in schema.items()}
    if schema.get("type") in ("integer", "number", "boolean"):
        description = {k: inner.pop(k) for k in ("description", "default", "title") if k in inner}
        return {"anyOf": [inner, {"$ref": "#/definitions/Environment"}], **description}
    return inner


def _without_titles(schema: Any) -> Any:
    """Drops pydantic's titles, which repeat the key; `title` as a key's own name stays."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_titles(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }
