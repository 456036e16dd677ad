"""Where a study stands: counts, the best trial, compute spent and saved. Read, never written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lyapopt.errors import UserError
from lyapopt.store.engine import has_sql
from lyapopt.store.errors import masked
from lyapopt.store.trials import (
    StoredStudy,
    StoredTrial,
    has_study_attribute,
    read_study,
    study_names,
)
from lyapopt.study.naming import DEFINITION, PROMOTED_SUFFIX

__all__ = [
    "Overview",
    "StoredStudy",
    "StoredTrial",
    "best_trials",
    "keeps_file",
    "load_study",
    "names_of_studies",
    "ranked",
]


def names_of_studies(storage: str) -> list[str]:
    """Names of the studies in a storage, in the order in which they were made.

    Args:
        storage: URL of Optuna's storage.

    Raises:
        UserError: If it cannot be read.
    """
    if has_sql(storage):
        return study_names(storage)
    # Here: tables of a database are read without Optuna, whose import takes longer than that.
    import optuna

    from lyapopt.study.run.storage import open_storage

    return optuna.get_all_study_names(open_storage(storage, create=False))


def load_study(storage: str, study_name: str, store: str | None = None) -> StoredStudy:
    """A study with all its trials.

    Args:
        storage: URL of Optuna's storage.
        study_name: Name of the study.
        store: URL of our own database, where it is another.

    Raises:
        UserError: If it cannot be read, or there is no such study.
    """
    if has_sql(storage):
        return read_study(storage, study_name, reasons_url=store)
    import optuna  # here: as above

    from lyapopt.study.run.storage import open_storage

    try:
        study = optuna.load_study(
            study_name=study_name, storage=open_storage(storage, create=False)
        )
    except KeyError:
        raise UserError(f"storage {masked(storage)} has no study {study_name!r}") from None
    trials = [StoredTrial.of(trial) for trial in study.get_trials(deepcopy=False)]
    directions = tuple(direction.name.lower() for direction in study.directions)
    return StoredStudy(study_name, directions, trials)


def keeps_file(storage: str, study_name: str) -> bool:
    """Whether a study, or the one that it was promoted from, knows the file that it was run with.

    Args:
        storage: URL of Optuna's storage.
        study_name: Name of the study.

    Raises:
        UserError: If it cannot be read.
    """
    name = study_name.removesuffix(PROMOTED_SUFFIX)
    if has_sql(storage):
        return has_study_attribute(storage, name, DEFINITION)
    from lyapopt.study.run.storage import open_storage  # here: as above

    opened = open_storage(storage, create=False)
    try:
        return DEFINITION in opened.get_study_system_attrs(opened.get_study_id_from_name(name))
    except KeyError:
        return False


_LEAST_SHARE = 0.005  # what is less is shown as 0 %


@dataclass(frozen=True)
class Overview:
    """A study in a few numbers.

    Attributes:
        study_name: Its name.
        states: How many trials are in which state.
        verdicts: How many trials have which verdict.
        best: The best trials: one for a single objective, the Pareto front for several; without a
            completed trial none.
        running: Trials that are running, or were left running.
        gradient_evaluations: What all trials have cost that have ended.
        so_far: What the running ones have cost at least beside that: one for every step that they
            have reported.
        saved: What the same trials would have cost more without measuring and pruning, each trained
            like the average completed one; negative where measuring has cost more than pruning has
            saved. None without a completed trial.
    """

    study_name: str
    states: Counter[str]
    verdicts: Counter[str]
    best: tuple[StoredTrial, ...]
    running: tuple[StoredTrial, ...]
    gradient_evaluations: float
    so_far: float
    saved: float | None

    @classmethod
    def of(cls, study: StoredStudy) -> Overview:
        """The overview of a study."""
        trials = study.trials
        return cls(
            study_name=study.name,
            states=Counter(trial.state for trial in trials),
            verdicts=Counter(trial.verdict for trial in trials if trial.verdict is not None),
            best=tuple(best_trials(trials, study.directions)),
            running=tuple(trial for trial in trials if trial.state == "running"),
            gradient_evaluations=math.fsum(trial.gradient_evaluations for trial in trials),
            so_far=math.fsum(trial.so_far for trial in trials),
            saved=saved_against_plain(trials),
        )

    @property
    def saved_share(self) -> float | None:
        """That as a share of what they would have cost."""
        if not self.saved or self.saved + self.gradient_evaluations <= 0:
            return None
        return self.saved / (self.saved + self.gradient_evaluations)

    @property
    def saved_in_words(self) -> str:
        """That in words; empty where it rounds to nothing, or is not known."""
        share = self.saved_share
        if self.saved is None or share is None or abs(share) < _LEAST_SHARE:
            return ""
        text = f"about {abs(self.saved):,.0f} ({abs(share):.0%})"
        if self.saved < 0:
            return f"measuring cost {text} more than pruning saved"
        return f"pruning saved {text}, measuring deducted"


def saved_against_plain(trials: Iterable[StoredTrial]) -> float | None:
    """Gradient evaluations that the same trials would have cost more, not measured and not pruned.

    Example:
        >>> cost, measuring = "gradient_evaluations", "lyapopt:measuring"
        >>> full = StoredTrial(0, "complete", (0.1,), attributes={cost: 620.0, measuring: 20.0})
        >>> pruned = StoredTrial(1, "pruned", attributes={cost: 40.0, measuring: 20.0})
        >>> saved_against_plain([full, pruned])  # 1200 - 660
        540.0
    """
    ended = [trial for trial in trials if trial.state not in ("waiting", "running")]
    trained = [t.gradient_evaluations - t.measuring for t in ended if t.state == "complete"]
    if not trained:
        return None
    full = math.fsum(trained) / len(trained)
    return math.fsum(
        full - trial.gradient_evaluations if trial.state == "pruned" else -trial.measuring
        for trial in ended
    )


def best_trials(trials: Iterable[StoredTrial], directions: Sequence[str]) -> list[StoredTrial]:
    """The best completed trial, or with several objectives all that no other one dominates.

    Of equally good ones the earliest counts.
    """
    return next(_fronts(trials, directions), [])


def ranked(trials: Iterable[StoredTrial], directions: Sequence[str]) -> list[StoredTrial]:
    """Completed trials, the best first; with several objectives one Pareto front after another.

    Example:
        >>> trials = [StoredTrial(n, "complete", (value,)) for n, value in enumerate((3, 1, 2))]
        >>> [trial.number for trial in ranked(trials, ["minimize"])]
        [1, 2, 0]
    """
    return [trial for front in _fronts(trials, directions) for trial in front]


def _fronts(
    trials: Iterable[StoredTrial], directions: Sequence[str]
) -> Iterator[list[StoredTrial]]:
    """The trials that no other dominates, then those that only these do, and so on."""
    signs = [1.0 if direction == "minimize" else -1.0 for direction in directions]
    scored = [
        (tuple(sign * value for sign, value in zip(signs, trial.values, strict=True)), trial)
        for trial in trials
        if trial.state == "complete"
        and len(trial.values) == len(signs)
        and not any(math.isnan(value) for value in trial.values)
    ]
    scored.sort(key=lambda pair: (pair[0], pair[1].number))
    if len(signs) == 1:
        yield from ([trial] for _, trial in scored)
        return
    while scored:
        front: list[tuple[tuple[float, ...], StoredTrial]] = []
        rest: list[tuple[tuple[float, ...], StoredTrial]] = []
        for score, trial in scored:
            # Sorted by the first objective, so that whatever dominates a trial comes before it.
            dominated = any(_dominates(kept, score) for kept, _ in front)
            (rest if dominated else front).append((score, trial))
        yield [trial for _, trial in front]
        scored = rest


def _dominates(kept: Sequence[float], score: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(kept, score, strict=True))
