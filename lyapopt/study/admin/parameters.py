"""Parameters that trials were trained with, and that the database has no longer."""

from __future__ import annotations

from collections.abc import Iterator

from lyapopt.errors import UserError
from lyapopt.store.reading import numbered
from lyapopt.store.states import run_in
from lyapopt.study.analysis.overview import StoredStudy
from lyapopt.study.file import StudyFile
from lyapopt.study.run.replay import studied_file

__all__ = ["lost_parameters"]


def lost_parameters(
    study: StoredStudy, storage: str, store: str | None
) -> Iterator[tuple[str, bool]]:
    """Parameters of the search space that finished trials of ours should have, and do not.

    A study may be gone on with after a parameter was added to its file. The trials before that
    have none, and nothing is lost.

    Args:
        study: The study as it is stored.
        storage: URL of Optuna's storage.
        store: URL of a store of its own.

    Yields:
        What is missing of which trials, and whether it was there: a trial before them has it.
    """
    try:
        file = studied_file(storage, study.name, store)
    except UserError:  # without its file nobody knows what a study searches
        return
    if file.task is None:  # a function of the user's suggests what it likes
        return
    since: dict[str, int] = {}
    lost: dict[str, list[int]] = {name: [] for name in file.variables}
    for trial in study.trials:
        if run_in(trial.attributes) is None or trial.state not in ("complete", "pruned"):
            continue
        for name in trial.params:
            since.setdefault(name, trial.number)
        for name in _missing(file, trial.params):
            lost[name].append(trial.number)
    for name, numbers in lost.items():
        first = since.get(name)
        later = [number for number in numbers if first is not None and number > first]
        early = [number for number in numbers if number not in later]
        if later:
            yield f"parameter {name!r} of {len(later)} trials is lost ({numbered(later)})", True
        if early:
            text = f"{len(early)} trials have no parameter {name!r} ({numbered(early)})"
            yield f"{text}, as if it had been added to the file after them", False


def _missing(file: StudyFile, params: dict[str, object]) -> list[str]:
    """What the search space has for a trial with these parameters, and they are without."""
    known = {**file.constants, **params}
    return [
        name
        for name, parameter in file.variables.items()
        if name not in params and parameter.is_active(known)
    ]
