"""JSON Schema (Draft 7) of dashboard files, for completion and checking in editors."""

from __future__ import annotations

import json
import types
from typing import Any, Final

from lyapopt.figures.registry import FIGURES, FigureSpec
from lyapopt.web.layouts.checks import KEYS, PANEL_KEYS, argument_types

__all__ = ["dashboard_schema_text"]

_DRAFT: Final = "http://json-schema.org/draft-07/schema#"
_TYPES: Final = {
    str: "string", bool: "boolean", int: "integer", float: "number", dict: "object",
    types.NoneType: "null",
}  # fmt: skip


def dashboard_schema_text() -> str:
    """The schema as `lyapopt schema --dashboard` prints it."""
    return json.dumps(_schema(), indent=2) + "\n"


def _schema() -> dict[str, Any]:
    one_filter = {
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "only": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["name"],
                "additionalProperties": False,
            },
        ]
    }
    figures = [{"enum": list(FIGURES)}, *(_panel(spec) for spec in FIGURES.values())]
    kinds: dict[str, dict[str, Any]] = {
        "version": {"const": 1},
        "title": {"type": "string", "maxLength": 200},
        "description": {"type": "string", "maxLength": 200},
        "studies": {"enum": ["one", "several"]},
        "filters": {"type": "array", "minItems": 1, "items": one_filter},
        "figures": {"type": "array", "minItems": 1, "items": {"anyOf": figures}},
    }
    properties = {key: {**kinds[key], "description": help} for key, (_, help) in KEYS.items()}
    return {
        "$schema": _DRAFT,
        "title": "lyapopt dashboard file",
        "type": "object",
        "properties": properties,
        "required": ["figures"],
        "additionalProperties": False,
    }


def _panel(spec: FigureSpec) -> dict[str, Any]:
    arguments = {
        name: {"type": [_TYPES[each] for each in kinds]}
        for name, kinds in argument_types(spec).items()
    }
    own = {
        "name": {"const": spec.name},
        "wide": {"type": "boolean", "description": PANEL_KEYS["wide"]},
    }
    return {
        "type": "object",
        "description": spec.description,
        "properties": {**own, **arguments},
        "required": ["name"],
        "additionalProperties": False,
    }
