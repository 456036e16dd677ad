"""`lyapopt report`: a study as one page."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Annotated

import typer

from lyapopt.cli import exit_codes
from lyapopt.cli.arguments import Storage, Study
from lyapopt.cli.text import echo
from lyapopt.display import one_line


def report(
    storage: Storage,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")
    ] = Path("report.html"),
    study: Study = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Its figures: a dashboard file, or overview, paper, pruning.",
        ),
    ] = None,
) -> int:
    """Write a study as one page that needs no network: figures, statistics, settings.

    Exit codes: 0 written, 2 invalid input.
    """
    # Imported here for `--help`: SQLAlchemy, pandas and plotly, 2 s.
    from lyapopt.cli.target import stored_study, target_of
    from lyapopt.errors import UserError
    from lyapopt.store.errors import masked
    from lyapopt.study.analysis.data import StudyData
    from lyapopt.study.run.choices import with_kept_choices
    from lyapopt.study.run.promotion import promoted_file
    from lyapopt.study.run.replay import studied_file
    from lyapopt.web.layouts import DEFAULT, find_layout
    from lyapopt.web.report import study_report

    target = target_of(storage, study)
    chosen = find_layout(layout or DEFAULT)
    assert chosen is not None
    if chosen.several:
        raise UserError(f"--layout {layout}: a report is of one study, that dashboard of several")
    if output.is_dir():
        raise UserError(f"-o {one_line(output)}: a folder; name a file, such as report.html")
    stored = stored_study(storage, study)
    data = StudyData(stored, target.storage, target.store)
    words = ["lyapopt", "report", masked(storage), "--study", data.name, "-o", str(output)]
    if layout is not None:
        words += ["--layout", layout]
    file = None
    with contextlib.suppress(UserError):  # plain Optuna has made it
        searched = with_kept_choices(studied_file(target.storage, data.name, target.store))
        is_search = searched.study_name == data.name
        file = (searched if is_search else promoted_file(searched)).as_dict()
    text = study_report(data, chosen, shlex.join(words), file)
    try:
        output.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"-o {one_line(output)}: {error.strerror}") from error
    echo(f"wrote {one_line(output)} ({len(text) / 1e6:.1f} MB)")
    return exit_codes.DONE
