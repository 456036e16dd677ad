"""The Optuna side: samplers, pruners and objectives.

- `objective`, `function_objective`: what a trial does; `training_group` and `training_stack` train
  many trials together, `reporting` shows them to Optuna, `run_record` to the store;
- `steering/` finds a learning rate, `screening/` chooses among candidates: samplers that probe, on
  what `probing/` has for both; `samplers/`: the base of samplers that wrap another;
- `pruners/`: rules on what a probe has found, with `forecasting/` of final values;
- `ranking`: many trained a little, the best in full, in studies of one's own;
- `monitor`, `callbacks/`: the exponent of a user's own training loop;
- `_optuna/`: the one place that touches what Optuna keeps private.

Names are imported when they are asked for: what only reads a study (a dashboard, its pages) goes
through `_optuna` as well, and does without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lyapopt.search.candidate import Candidate, Outcome
    from lyapopt.search.monitor import Monitor, watch
    from lyapopt.search.objective import Objective, TrialFailedError
    from lyapopt.search.pruners import LyapunovPruner
    from lyapopt.search.ranking import enqueue_best
    from lyapopt.search.samplers.seeded import SeededSampler
    from lyapopt.search.screening import ScreeningSampler
    from lyapopt.search.space import SearchSpace
    from lyapopt.search.steering import EdgeOfChaosSampler, SteeringFailedError, steer
    from lyapopt.search.steering.find_lr import find_lr
    from lyapopt.search.steering.own_loop import suggest_lr
    from lyapopt.settings import RecordSettings
    from lyapopt.space import SeedParameter

__all__ = [
    "Candidate",
    "EdgeOfChaosSampler",
    "LyapunovPruner",
    "Monitor",
    "Objective",
    "Outcome",
    "RecordSettings",
    "ScreeningSampler",
    "SearchSpace",
    "SeedParameter",
    "SeededSampler",
    "SteeringFailedError",
    "TrialFailedError",
    "enqueue_best",
    "find_lr",
    "steer",
    "suggest_lr",
    "watch",
]

_HOMES = {
    "Candidate": "lyapopt.search.candidate",
    "EdgeOfChaosSampler": "lyapopt.search.steering",
    "LyapunovPruner": "lyapopt.search.pruners",
    "Monitor": "lyapopt.search.monitor",
    "Objective": "lyapopt.search.objective",
    "Outcome": "lyapopt.search.candidate",
    "RecordSettings": "lyapopt.settings",
    "ScreeningSampler": "lyapopt.search.screening",
    "SearchSpace": "lyapopt.search.space",
    "SeedParameter": "lyapopt.space",
    "SeededSampler": "lyapopt.search.samplers.seeded",
    "SteeringFailedError": "lyapopt.search.steering",
    "TrialFailedError": "lyapopt.search.objective",
    "enqueue_best": "lyapopt.search.ranking",
    "find_lr": "lyapopt.search.steering.find_lr",
    "steer": "lyapopt.search.steering",
    "suggest_lr": "lyapopt.search.steering.own_loop",
    "watch": "lyapopt.search.monitor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
