"""`promote: k`: the best k trials of a study of exponents or of short trainings, trained in full.

An exponent, or the loss of a training that was stopped at `rank_at`, does not mix with a final
loss, so that the trainings are a study of their own, named after the search with `-promoted` behind
it. Its n-th trial trains the network of one trial of the search: the same parameters and, where the
build function draws initial weights, the same weights. Which one is written down when it is
promoted, so that a search that goes on later adds to what was promoted, and an interruption changes
nothing. Nothing is pruned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from optuna.trial import FrozenTrial, TrialState

from lyapopt.errors import UserError
from lyapopt.search._optuna import (
    get_study_attribute,
    logical_number,
    set_study_attribute,
)
from lyapopt.search.samplers.given import GivenSampler
from lyapopt.study.file import StudyFile
from lyapopt.study.naming import PROMOTED_SUFFIX
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.opening import mutex_of, opened_study
from lyapopt.study.run.worker_table import WorkerSettings

PROMOTED: Final = "lyapopt:promoted"
"""System attribute of a study of promoted trials: logical numbers in the search, in order."""


@dataclass(frozen=True)
class Promotion:
    """What is trained in full.

    Attributes:
        file: The study of it.
        networks: Logical numbers of the search, by logical number of that study.
        params: The parameters of each.
    """

    file: StudyFile
    networks: Sequence[int]
    params: Sequence[Mapping[str, Any]]

    def sampler(self) -> GivenSampler:
        """Gives each trial its parameters."""
        return GivenSampler(self.params)


def promoted_file(file: StudyFile) -> StudyFile:
    """The study in which the best trials of a file's study are trained in full."""
    of_exponents = {"value": "loss", "direction": "minimize", "directions": None}
    full = file.model_copy(
        update={
            **(of_exponents if file.value == "exponent" else {}),
            "study_name": file.study_name + PROMOTED_SUFFIX,
            "promote": 0,
            "rank_at": None,
            "sampler": None,
            "pruner": None,
            "enqueue": (),
            "timeout": None,
            "warm_start": None,
        }
    )
    full._chosen = None
    return full


def promotion(
    file: StudyFile, search: Ledger, listener: StudyListener, settings: WorkerSettings
) -> Promotion | None:
    """What is to be trained in full after a search; `None` if there is nothing.

    Args:
        file: With `promote`.
        search: All trials of the search.
        listener: Told if there is less to promote than was asked for.
        settings: How its study is opened.

    Raises:
        UserError: If the promoted trials are those of another search.
    """
    full = promoted_file(file)
    if file.budget is not None:
        left = file.budget.gradient_evaluations - search.gradient_evaluations
        if left < 1:
            listener.note("nothing is left of the budget to train the best trials in full")
            return None
        budget = file.budget.model_copy(update={"gradient_evaluations": int(left)})
        full = full.model_copy(update={"budget": budget})
    with opened_study(file, listener, settings) as study:
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = _best(trials, file)
    if len(best) < file.promote:
        listener.note(f"{len(best)} of {file.promote} trials can be promoted: no more completed")
    if not best:
        return None
    networks = _write_down(full, best, listener, settings)
    params = {logical_number(trial): trial.params for trial in trials}
    if lost := [number for number in networks if number not in params]:
        raise UserError(
            f"study {full.study_name!r} has trained trial {lost[0]} of another study "
            f"{file.study_name!r}, which was deleted; delete it as well: --fresh"
        )
    count = len(networks)
    return Promotion(
        full.model_copy(update={"n_trials": count}), networks, [params[n] for n in networks]
    )


def _best(trials: Sequence[FrozenTrial], file: StudyFile) -> list[int]:
    """Logical numbers of the best trials, best first."""
    sign = -1.0 if file.all_directions[0] == "maximize" else 1.0
    ranked = sorted(trials, key=lambda trial: (sign * trial.values[0], logical_number(trial)))
    return [logical_number(trial) for trial in ranked[: file.promote]]


def _write_down(
    full: StudyFile, best: Sequence[int], listener: StudyListener, settings: WorkerSettings
) -> list[int]:
    """What was promoted before and what is now, in the order in which it was."""
    with opened_study(full, listener, settings) as study, mutex_of(full):
        known: list[int] = list(get_study_attribute(study, PROMOTED) or ())
        known += [number for number in best if number not in known]
        set_study_attribute(study, PROMOTED, known)
    return known
