"""What was chosen for a study that leaves its sampler or pruner open: at its creation, for good."""

from __future__ import annotations

from typing import Any, Final

import optuna
from optuna.samplers import RandomSampler

from lyapopt.errors import UserError
from lyapopt.search._optuna import (
    get_study_attribute,
    inside_optimize,
    ordered,
    set_study_attribute,
)
from lyapopt.study.file import StudyFile
from lyapopt.study.file.automatic import Choices, choose, follows_budget, grown, is_open, steps_of
from lyapopt.study.file.model import AUTO
from lyapopt.study.file.task_section import CustomTask
from lyapopt.study.run import assembly
from lyapopt.study.run.folder import same_folder
from lyapopt.study.run.storage import reading_study

__all__ = ["DIGEST", "keep_choices", "known_digest", "with_choices", "with_kept_choices"]

DIGEST: Final = "lyapopt:digest"
"""System attribute of a study: what defines its results, as `StudyFile.digest` says it."""
CHOSEN: Final = "lyapopt:auto"
"""System attribute of a study: the keys that were chosen, in the words of a study file."""
_BEFORE: Final = Choices({"sampler": "tpe", "pruner": "median"})
"""Of studies that began when nothing was chosen."""


def with_choices(file: StudyFile, *, anew: bool = False) -> tuple[StudyFile, Choices | None]:
    """A file with nothing left open, and what was chosen; the storage is not changed.

    Args:
        file: A validated study file.
        anew: Whether to choose as for a new study, whatever the storage holds.

    Returns:
        The file itself and `None` where it leaves nothing open. What was chosen when the study
        began holds, whatever the file says of `n_trials` and `budget` now; but where the number of
        trials followed from the budget, a larger budget has more of them.
    """
    if not is_open(file):
        return file, None
    chosen = None if anew else _stored(file)
    if chosen is None:
        chosen = choose(file, _steps(file))
    elif follows_budget(file, chosen):
        chosen = grown(file, chosen, _steps(file))
    return chosen.applied_to(file), chosen.open_in(file)


def with_kept_choices(file: StudyFile) -> StudyFile:
    """A file with what was chosen when its study began; nothing of a user's own is built for it.

    Args:
        file: As a study has kept it.
    """
    chosen = _stored(file) if is_open(file) else None
    return file if chosen is None else grown(file, chosen, steps_of(file)).applied_to(file)


def known_digest(study: optuna.Study) -> str | None:
    """What the study was defined by when it was last run; `None` before it is."""
    # Once it was a user attribute, which a dashboard shows among the user's own.
    found = study.user_attrs.get(DIGEST) or get_study_attribute(study, DIGEST)
    return None if found is None else str(found)


def keep_choices(study: optuna.Study, file: StudyFile) -> None:
    """Store what was chosen beside a study that is new."""
    if file.chosen is not None:
        set_study_attribute(study, CHOSEN, dict(file.chosen))


def _stored(file: StudyFile) -> Choices | None:
    """What was chosen when the file's study began; `None` if there is no such study."""
    with reading_study(file.storage, file.study_name) as study:
        if study is None:
            return None
        values: Any = get_study_attribute(study, CHOSEN)
        begun = known_digest(study) is not None
    if values is None:
        return _BEFORE if begun else None
    if not isinstance(values, dict):
        raise UserError(
            f"study {file.study_name!r}: what was chosen for it ({CHOSEN}) cannot be read; name "
            "`sampler` and `pruner` in the study file"
        )
    return Choices(values, ("as it was chosen when the study began",))


def _steps(file: StudyFile) -> int | None:
    """Steps of a training: the file says it, or a first network of a user's own."""
    if not isinstance(file.task, CustomTask):
        return steps_of(file)
    if file.budget is None or file.sampler != AUTO:
        return None  # nothing is ranked, and no network is built for it
    objective = assembly.objective(file, assembly.search_space(file))
    study = ordered(optuna.create_study(sampler=RandomSampler(seed=file.seed)))
    with same_folder(), inside_optimize(study):
        training = objective.prepare(study.ask()).training
    return None if training is None else training.steps
