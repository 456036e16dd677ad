"""A user's own objective, `trial -> value`, run as a study runs its trials."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import optuna

from lyapopt.dynamics.randomness import derive_seed
from lyapopt.search import attributes
from lyapopt.search._optuna import attach, logical_number
from lyapopt.search.candidate import Candidate, Outcome
from lyapopt.search.probing.building import seeded
from lyapopt.search.recording.cost import charge_probes, show_cost
from lyapopt.search.run_record import run_record
from lyapopt.settings import NanPolicy
from lyapopt.store import RunRecord, new_run_id

_log = logging.getLogger(__name__)


class _NoValueError(Exception):
    """What a function returned is no value of a trial."""


class FunctionObjective:
    """Trials of a function of the user's: suggested, trained and pruned by itself.

    It has the methods of `Objective` that a study calls. Global generators are seeded for every
    trial, so that a trial that is run again draws the same numbers.

    Args:
        function: `trial -> value`; may raise `optuna.TrialPruned`.
        seed: Study seed.
        nan: What becomes of a trial whose value is NaN: it is pruned, failed, or gets `worst`.
        worst: The worst value of each direction of the study.
    """

    reports = 0

    def __init__(
        self,
        function: Callable[[optuna.Trial], float | Sequence[float]],
        *,
        seed: int = 0,
        nan: NanPolicy = "fail",
        worst: Sequence[float] = (math.inf,),
    ) -> None:
        self._function = function
        self._nan = nan
        self._worst = tuple(worst)
        self.seed = seed

    def prepare(self, trial: optuna.Trial) -> Candidate:
        """Give the trial a run; its parameters come when the function suggests them.

        What `lyapopt.watch` or an `Objective` measure inside the function is added to it.
        """
        candidate = Candidate(trial, logical_number(trial), new_run_id(), is_leased=True)
        attach(trial, candidate)
        return candidate

    def train(self, candidates: Sequence[Candidate]) -> None:
        """Call the function on one trial after the other."""
        for candidate in candidates:
            candidate.outcome = self._outcome(candidate)
            candidate.params = candidate.trial.params

    def conclude(self, candidate: Candidate) -> None:
        """Write cost, and the verdict where there is no other, to the trial, before `tell`."""
        assert candidate.outcome is not None
        if candidate.gradient_evaluations:
            charge_probes(candidate)
            show_cost(candidate)
        state = candidate.outcome.state
        if state in (attributes.FAILED, attributes.INTERRUPTED):
            attributes.show(candidate.trial, attributes.VERDICT, state)

    def record_of(self, candidate: Candidate) -> RunRecord:
        """What the store keeps of a trial that has ended."""
        return run_record(candidate, candidate.probe, candidate.kept, self.seed)

    def _outcome(self, candidate: Candidate) -> Outcome:
        try:
            with seeded(derive_seed(self.seed, candidate.number, "objective")):
                values = self._values(self._function(candidate.trial))
        except optuna.TrialPruned as pruned:
            return Outcome("pruned", reason=str(pruned) or "pruned by the objective")
        except _NoValueError as error:
            return Outcome("failed", reason=f"objective: {error}")
        except (Exception, SystemExit) as error:
            _log.debug("the objective raised", exc_info=True)
            candidate.fail("objective", error)
            assert candidate.outcome is not None
            return candidate.outcome
        if not any(map(math.isnan, values)):
            return _complete(values)
        reason = "the objective returned NaN"
        match self._nan:
            case "prune":
                return Outcome("pruned", reason=reason)
            case "fail":
                return Outcome("failed", reason=reason)
            case "worst":
                return dataclasses.replace(_complete(self._worst), reason=reason)

    def _values(self, returned: Any) -> tuple[float, ...]:
        """What the function returned, as one number for each direction.

        Raises:
            _NoValueError: If it is something else.
        """
        expected = len(self._worst)
        if returned is None:
            raise _NoValueError("it returned None: is there a path without a `return`?")
        is_several = isinstance(returned, tuple | list)
        values = tuple(returned) if is_several else (returned,)
        if len(values) != expected or (is_several and expected == 1):
            has = f"{expected} direction{'s' * (expected > 1)}"
            raise _NoValueError(f"it returned {len(values)} values, and the study has {has}")
        try:
            return tuple(float(value) for value in values)
        except (TypeError, ValueError):
            raise _NoValueError(f"it returned {returned!r:.80}, which is no number") from None


def _complete(values: tuple[float, ...]) -> Outcome:
    return Outcome("complete", values[0] if len(values) == 1 else values)
