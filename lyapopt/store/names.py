"""Names of the user attributes that a trial carries in Optuna; they need no heavy import."""

from __future__ import annotations

from typing import Final

EXPONENT: Final = "exponent"
LOW: Final = "exponent_low"
HIGH: Final = "exponent_high"
VERDICT: Final = "verdict"
COST: Final = "gradient_evaluations"

DEATHS: Final = "lyapopt:deaths"
"""How often the process of this trial, or of an earlier try of it, died while it ran."""

FAILED: Final = "failed"
INTERRUPTED: Final = "interrupted"
