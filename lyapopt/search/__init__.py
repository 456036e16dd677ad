"""The Optuna side: samplers, pruners, objectives, rules."""

from lyapopt.search.candidate import Candidate, Outcome
from lyapopt.search.monitor import Monitor, watch
from lyapopt.search.objective import Objective, TrialFailedError
from lyapopt.search.pruners import ForecastPruner, GatedPercentilePruner, LyapunovPruner
from lyapopt.search.samplers.seeded import SeededSampler
from lyapopt.search.screening import ScreeningSampler
from lyapopt.search.space import SearchSpace
from lyapopt.search.steering import EdgeOfChaosSampler, SteeringFailedError, steer
from lyapopt.settings import RecordSettings
from lyapopt.space import SeedParameter

__all__ = [
    "Candidate",
    "EdgeOfChaosSampler",
    "ForecastPruner",
    "GatedPercentilePruner",
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
    "steer",
    "watch",
]
