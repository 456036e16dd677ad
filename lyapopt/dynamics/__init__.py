"""Training as a dynamical system: maps, update rules, batches."""

from lyapopt.dynamics.maps import Map
from lyapopt.dynamics.stack import AnyTrainingMap, group_by_structure, stack
from lyapopt.dynamics.training import Evaluation, Training
from lyapopt.dynamics.training_map import TrainingMap
from lyapopt.dynamics.unstacked import UnstackedMap

__all__ = [
    "AnyTrainingMap",
    "Evaluation",
    "Map",
    "Training",
    "TrainingMap",
    "UnstackedMap",
    "group_by_structure",
    "stack",
]
