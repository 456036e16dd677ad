"""The smaller sections of a study file."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from lyapopt.study.file.fields import Count, CountOrZero, ImportPath, Section, Shape, fail
from lyapopt.study.file.import_paths import is_import_path
from lyapopt.study.file.messages import describe, did_you_mean

__all__ = ["Budget", "ObjectiveSection", "OnFailure", "Output", "ProbeSection", "Record"]


class ProbeSection(Section):
    """How the exponent of a configuration is measured."""

    horizon: Count = Field(default=20, description="Steps over which the exponent is measured.")
    neighbours: Count = Field(
        default=1, description="Perturbed copies that are trained beside the network."
    )
    radius: float = Field(
        default=1e-6,
        gt=0,
        le=1,
        description="Separation that neighbours start with, in weights; it stands for one without "
        "extent, so 1 is already far too large.",
    )
    distance: Literal["weights", "outputs"] = Field(
        default="weights", description="What the separation is measured in."
    )
    estimator: Literal["neighbours", "tangent"] = Field(
        default="neighbours", description="Finite differences, or Jacobian-vector products."
    )


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
    nan: Literal["prune", "fail", "worst"] = Field(
        default="prune", description="What becomes of a trial whose value is not finite."
    )


class Record(Section):
    """What is stored of each trial's trajectory."""

    every: Count = Field(default=1, description="Steps between two stored values.")
    weights: Literal["full", "projection", "none"] = Field(
        default="projection", description="All weights, a random projection of them, or none."
    )
    projection_dim: Count = Field(default=64, description="Dimension of the projection.")


class Output(Section):
    """What the terminal shows."""

    progress: Literal["auto", "table", "lines", "none"] = Field(
        default="auto", description="A live table on a terminal, else one line a trial."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe message that is shown."
    )
