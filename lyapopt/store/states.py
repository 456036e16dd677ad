"""States of trials in our words, and the attributes of a trial in Optuna that they depend on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

RUN_ATTRIBUTE: Final = "lyapopt:run"
"""User attribute that names the run of a trial in the store."""
WORKER_ATTRIBUTE: Final = "lyapopt:worker"
"""System attribute that names the worker of ours that runs a trial."""
DEATHS: Final = "lyapopt:deaths"
"""How often the process of this trial, or of an earlier try of it, died while it ran."""
SURVIVED: Final = "lyapopt:survived"
"""In a try that ran alone, since its group had died: 1 if it came to its end, otherwise 0."""

EXPONENT: Final = "exponent"
LOW: Final = "exponent_low"
HIGH: Final = "exponent_high"
VERDICT: Final = "verdict"
LOSS_FALL: Final = "loss_fall"
"""Share of the first loss by which the loss fell while the exponent was measured."""
INITIAL_LOSS: Final = "initial_loss"
"""The loss before the first step, where a pruner reads it."""
COST: Final = "gradient_evaluations"
MEASURING: Final = "lyapopt:measuring"
"""Of that cost, what measuring has taken beside training: neighbours, twins, probes of samplers."""
MEASURED: Final = "measured"
"""How the exponent was measured, where that was in another precision than the training."""

NUMBERS: Final = frozenset({EXPONENT, LOW, HIGH, LOSS_FALL, INITIAL_LOSS, COST})
"""The attributes that hold numbers."""

FAILED: Final = "failed"
INTERRUPTED: Final = "interrupted"

EndState = Literal["complete", "pruned", "failed", "interrupted"]
RunState = Literal["running", EndState]
State = Literal["waiting", RunState]

_STATES: Final[Mapping[str, State]] = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "RUNNING": "running",
    "WAITING": "waiting",
}


def number_in(attributes: Mapping[str, Any], name: str) -> float | None:
    """The finite number that an attribute of ours holds, or `None`.

    A study of other tools may have anything under the same name: that is no number of ours.

    Example:
        >>> number_in({"exponent": 0.25}, "exponent"), number_in({"exponent": "high"}, "exponent")
        (0.25, None)
    """
    value = attributes.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        return None
    return number if math.isfinite(number) else None


def count_in(attributes: Mapping[str, Any], name: str) -> int | None:
    """The count that an attribute of ours holds, such as a number of a trial, or `None`."""
    value = attributes.get(name)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
    return value if is_count else None


def run_in(attributes: Mapping[str, Any]) -> str | None:
    """The run that a trial names, or `None`."""
    run = attributes.get(RUN_ATTRIBUTE)
    return run if isinstance(run, str) else None


def cost_in(attributes: Mapping[str, Any]) -> float:
    """The gradient evaluations that a trial has cost; none where they were not counted."""
    return max(0.0, number_in(attributes, COST) or 0.0)


def state_of(trial: FrozenTrial) -> State:
    """State of a trial in our words; see `state_from`."""
    return state_from(trial.state.name, trial.user_attrs, trial.system_attrs)


def state_from(
    optuna_state: str, user_attributes: Mapping[str, Any], system_attributes: Mapping[str, Any]
) -> State:
    """State of a trial in our words: a trial that is to be run again is not called failed.

    Optuna has FAIL for both. A worker of ours writes which of the two it is as the verdict. Where
    it could not, because Optuna failed the trial when its heartbeat stopped, it was interrupted. A
    trial that plain Optuna ran has no worker of ours, and failed.

    Args:
        optuna_state: Name of Optuna's state.
        user_attributes: User attributes of the trial; `VERDICT` is read.
        system_attributes: System attributes of the trial; `WORKER_ATTRIBUTE` is read.

    Example:
        >>> state_from("FAIL", {}, {}), state_from("FAIL", {"verdict": "interrupted"}, {})
        ('failed', 'interrupted')
    """
    if optuna_state != "FAIL":
        if optuna_state not in _STATES:
            raise ValueError(f"{optuna_state!r} is not the state of a trial")
        return _STATES[optuna_state]
    verdict = user_attributes.get(VERDICT)
    if verdict == INTERRUPTED or (verdict != FAILED and WORKER_ATTRIBUTE in system_attributes):
        return INTERRUPTED
    return FAILED
