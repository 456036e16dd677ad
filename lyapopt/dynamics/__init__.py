"""Training as a dynamical system: maps, update rules, batches."""

from lyapopt.dynamics.evaluation import Evaluation
from lyapopt.dynamics.maps import Map
from lyapopt.dynamics.one_by_one import OneByOneMap
from lyapopt.dynamics.stack import AnyTrainingMap, group_by_structure, stack
from lyapopt.dynamics.training import Training
from lyapopt.dynamics.training_map import TrainingMap

__all__ = [
    "AnyTrainingMap",
    "Evaluation",
    "Map",
    "OneByOneMap",
    "Training",
    "TrainingMap",
    "group_by_structure",
    "stack",
]
