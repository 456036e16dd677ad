"""`lyapopt best`: the best trials of a study, or its Pareto front."""

from __future__ import annotations

from typing import Annotated

import typer

from lyapopt.cli import exit_codes
from lyapopt.cli.arguments import Format, OutputFormat, Save, Storage, Study
from lyapopt.cli.text import echo


def best(
    storage: Storage,
    study: Study = None,
    count: Annotated[
        int | None,
        typer.Option("-k", min=1, metavar="N", help="List the N best instead, the best first."),
    ] = None,
    save: Save = None,
    form: OutputFormat = Format.TABLE,
) -> int:
    """Print the best trial: its parameters ready to paste, and how to train it again.

    Of a study that promotes it is the best of those that were trained in full; with several
    objectives it is the Pareto front.
    """
    # Imported here for `--help`: SQLAlchemy, 0.4 s.
    from lyapopt.cli.output import print_best, print_document, print_trials
    from lyapopt.cli.target import best_study, is_replayable, replay_command
    from lyapopt.store.trials import StoredTrial
    from lyapopt.study.analysis.overview import best_trials, ranked

    stored = best_study(storage, study)
    found = ranked(stored.trials, stored.directions)
    if not found:
        reason = f"study {stored.name!r} has no completed trial"
        echo(reason, err=True)
        if count is None and form in (Format.JSON, Format.YAML):
            print_document({"study": stored.name, "trial": None, "reason": reason}, form.value)
        elif form != Format.TABLE:
            print_trials([], form.value)
        return exit_codes.NO_COMPLETED_TRIAL

    has_file = is_replayable(storage, stored.name)

    def facts(trial: StoredTrial) -> dict[str, str]:
        again = replay_command(storage, stored.name, trial.number)
        return {"study": stored.name} | ({"again": again} if has_file else {})

    if count is not None:
        more = "-f csv has them"
        print_trials(found[:count], form.value, more=more, study_name=stored.name)
    else:
        print_best(best_trials(stored.trials, stored.directions), form.value, facts)
    if save is not None:  # torch and Optuna, 3.5 s
        from lyapopt.cli.replaying import replayed, save_model

        save_model(replayed(storage, stored.name, found[0].number), save)
    return exit_codes.DONE
