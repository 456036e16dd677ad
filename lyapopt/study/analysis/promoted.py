"""The study in which the best trials of another one were trained in full, found from that one."""

from __future__ import annotations

from collections.abc import Collection

from lyapopt.store import RecordNotFoundError
from lyapopt.study.analysis.overview import StoredStudy, load_study, names_of_studies
from lyapopt.study.naming import PROMOTED_SUFFIX

__all__ = ["is_promoted", "promoted_study"]


def promoted_study(storage: str, study_name: str, store: str | None = None) -> StoredStudy | None:
    """The study of the promoted trials of a study, if there is one with a completed trial.

    Args:
        storage: URL of Optuna's storage.
        study_name: Name of the study that promotes.
        store: URL of our own database, where it is another.

    Raises:
        UserError: If the storage cannot be read.
    """
    name = study_name + PROMOTED_SUFFIX
    try:
        if name not in names_of_studies(storage):
            return None
        study = load_study(storage, name, store)
    except RecordNotFoundError:  # the storage, or it was deleted meanwhile
        return None
    return study if any(trial.state == "complete" for trial in study.trials) else None


def is_promoted(name: str, names: Collection[str]) -> bool:
    """Whether a study has the promoted trials of another one of these.

    Example:
        >>> is_promoted("a-promoted", ["a", "a-promoted"]), is_promoted("a-promoted", ["b"])
        (True, False)
    """
    return name.endswith(PROMOTED_SUFFIX) and name.removesuffix(PROMOTED_SUFFIX) in names
