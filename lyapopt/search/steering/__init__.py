"""Steering: choosing a rate so that the exponent meets a target."""

from lyapopt.search.probing.probes import ProbedStart, SteeringFailedError
from lyapopt.search.probing.records import STEERING, SteeringRecord
from lyapopt.search.steering.find_lr import find_lr
from lyapopt.search.steering.found_rate import Steering
from lyapopt.search.steering.one_network import steer
from lyapopt.search.steering.sampler import EdgeOfChaosSampler
from lyapopt.search.steering.search import Steered

__all__ = [
    "STEERING",
    "EdgeOfChaosSampler",
    "ProbedStart",
    "Steered",
    "Steering",
    "SteeringFailedError",
    "SteeringRecord",
    "find_lr",
    "steer",
]
