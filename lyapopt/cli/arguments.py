"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


File = Annotated[Path, typer.Argument(metavar="FILE", help="A study file.", show_default=False)]
Storage = Annotated[
    str,
    typer.Argument(
        metavar="STORAGE",
        help="A storage URL, a database file, or a study file.",
        show_default=False,
    ),
]
Study = Annotated[
    str | None, typer.Option("--study", metavar="NAME", help="Which study, if it holds several.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the file; repeatable."),
]
OutputFormat = Annotated[Format, typer.Option("--format", "-f", help="How to print it.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the best trial.")]
Save = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="Write the trained weights there, for load_state_dict."),
]
