"""A sampler or pruner as a study file describes it: checked now, imported when the study runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lyapopt.errors import UserError
from lyapopt.study.objects import import_object

__all__ = ["ClassSpec"]


@dataclass(frozen=True)
class ClassSpec:
    """A class by import path, with its arguments.

    Attributes:
        import_path: `optuna.samplers:TPESampler`.
        kwargs: plain keyword arguments from the file.
        nested: arguments that are samplers or pruners themselves.
        functions: arguments that are functions, by import path.
    """

    import_path: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    nested: Mapping[str, ClassSpec] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """`TPESampler` of `optuna.samplers:TPESampler`."""
        return self.import_path.rpartition(":")[2]

    def walk(self) -> Iterator[ClassSpec]:
        """This spec and all that is nested in it, outermost first."""
        yield self
        for spec in self.nested.values():
            yield from spec.walk()

    def as_dict(self) -> dict[str, Any]:
        """Plain data that describes it, for display and for digests."""
        nested = {name: spec.as_dict() for name, spec in self.nested.items()}
        return {"class": self.import_path, **self.kwargs, **self.functions, **nested}

    def build(self, *, base_dir: str | Path | None = None, **extra: Any) -> Any:
        """Imports the class and constructs it.

        Args:
            base_dir: the study file's folder, for a user's own classes.
            **extra: arguments offered to this class and every nested one: each takes those that
                its constructor has and the file does not set (`seed`, `build`, `search_space`).

        Raises:
            UserError: the class cannot be imported, or refuses its arguments.

        Example:
            >>> type(ClassSpec("optuna.samplers:RandomSampler", {"seed": 1}).build()).__name__
            'RandomSampler'
        """
        target = import_object(self.import_path, base_dir)
        arguments: dict[str, Any] = dict(self.kwargs)
        for name, path in self.functions.items():
            arguments[name] = import_object(path, base_dir)
        for name, spec in self.nested.items():
            arguments[name] = spec.build(base_dir=base_dir, **extra)
        try:
            accepted = inspect.signature(target).parameters
            offered = {name: value for name, value in extra.items() if name in accepted}
            return target(**{**offered, **arguments})
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.class_name} refuses its arguments: {error}") from error
