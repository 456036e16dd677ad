"""Training many configurations a little and the best in full, in studies of one's own."""

from __future__ import annotations

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from lyapopt.checks import Arguments


def enqueue_best(study: optuna.Study, full: optuna.Study, n: int) -> None:
    """Enqueue the parameters of a study's best complete trials in another study, best first.

    Values that are given win in the other study: nothing is sampled or steered again.

    Args:
        study: Of short trainings, with one objective.
        full: That of full ones.
        n: How many, if there are as many.

    Raises:
        UserError: If an argument is of another type or out of its range, or the study has several
            objectives.

    Example:
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study, full = optuna.create_study(), optuna.create_study()
        >>> study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=20)
        >>> enqueue_best(study, full, n=3)
        >>> full.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=3)
        >>> full.best_params == study.best_params
        True
    """
    check = Arguments("enqueue_best")
    check.instance("study", study, optuna.Study, "an optuna.Study")
    check.instance("full", full, optuna.Study, "an optuna.Study")
    check.whole("n", n, least=1)
    if len(study.directions) > 1:
        check.refuse("study", study.directions, "a study with one objective")
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    for trial in sorted(ended, key=lambda trial: sign * (trial.value or 0.0))[:n]:
        full.enqueue_trial(trial.params)
