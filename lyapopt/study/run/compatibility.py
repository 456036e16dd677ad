"""Whether a study file fits the trials that its study has already."""

from __future__ import annotations

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    check_distribution_compatibility,
)

from lyapopt.errors import UserError
from lyapopt.search._optuna import every_trial


def check_parameters(study: optuna.Study, distributions: dict[str, BaseDistribution]) -> None:
    """See to it that no parameter of the file has changed its kind since the study began.

    Optuna lets a range become wider or narrower. It refuses other choices, another type, or a
    logarithm that came or went, but only when the first trial suggests the parameter.

    Args:
        study: As it is stored.
        distributions: Parameters of the file.

    Raises:
        UserError: If one has changed, with what to do.
    """
    known: dict[str, BaseDistribution] = {}
    for trial in every_trial(study):
        known.update(trial.distributions)
    for name, distribution in distributions.items():
        before = known.get(name)
        if before is None:
            continue
        try:
            check_distribution_compatibility(before, distribution)
        except ValueError:
            raise UserError(
                f"search_space.{name}: the trials of study {study.study_name!r} have "
                f"{_in_words(before)}, and the file says {_in_words(distribution)}; a study keeps "
                "its choices and scales: use another study_name, or --fresh to begin again"
            ) from None


def _in_words(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"choices {', '.join(map(str, distribution.choices))}"
    kind = type(distribution).__name__.removesuffix("Distribution").lower()
    return f"a logarithmic {kind}" if getattr(distribution, "log", False) else f"a linear {kind}"
