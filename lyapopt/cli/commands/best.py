"""`lyapopt best`: the best trial of a study, or its Pareto front."""

from __future__ import annotations

from lyapopt.cli import exit_codes
from lyapopt.cli.arguments import Format, OutputFormat, Storage, Study
from lyapopt.cli.text import echo


def best(storage: Storage, study: Study = None, form: OutputFormat = Format.TABLE) -> int:
    """The best trial: its parameters ready to paste, value, exponent and verdict."""
    # Imported here for `--help`: SQLAlchemy, 0.4 s.
    from lyapopt.cli.output import print_best
    from lyapopt.cli.target import stored_study
    from lyapopt.study.analysis.overview import Overview

    stored = stored_study(storage, study)
    found = Overview.of(stored).best
    if not found:
        echo(f"study {stored.name!r} has no completed trial", err=True)
        return exit_codes.NO_COMPLETED_TRIAL
    print_best(found, form.value)
    return exit_codes.DONE
