"""The errors that lyapopt raises on purpose."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake that the user can mend: shown without a traceback, exit code 2.

    The text says what was wrong, where, and what to do. It is a `ValueError`, which is what Optuna
    raises of wrong values and what its users catch.
    """


class StudyStoppedError(Exception):
    """A study that stopped because a trial failed with an error that it was not told to catch."""


class TrainingError(UserError):
    """A `Training` that cannot be trained as given: says which part and what to do."""


class NotStackableError(UserError):
    """A model that cannot be trained as a row of a stacked tensor, and why."""


class PrecisionError(TrainingError):
    """A training that does not run in the precision that it would be measured in, and why."""


class RadiusError(UserError):
    """A radius that is not positive, or that the dtype cannot resolve."""
