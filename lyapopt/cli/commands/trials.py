"""`lyapopt trials`: every trial of a study."""

from __future__ import annotations

from lyapopt.cli import exit_codes
from lyapopt.cli.arguments import Format, OutputFormat, Storage, Study


def trials(storage: Storage, study: Study = None, form: OutputFormat = Format.TABLE) -> int:
    """Every trial with its parameters, value, exponent, interval, verdict, state and cost."""
    # Imported here for `--help`: SQLAlchemy, 0.4 s.
    from lyapopt.cli.output import print_trials
    from lyapopt.cli.target import stored_study

    print_trials(stored_study(storage, study).trials, form.value)
    return exit_codes.DONE
