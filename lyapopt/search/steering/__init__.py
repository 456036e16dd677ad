"""Steering: choosing a rate so that the exponent meets a target."""

from lyapopt.search.steering.now import Steering, steer
from lyapopt.search.steering.probing import ProbedStart
from lyapopt.search.steering.records import STEERING, SteeringRecord
from lyapopt.search.steering.sampler import EdgeOfChaosSampler, find_steering
from lyapopt.search.steering.search import Steered, SteeringFailedError

__all__ = [
    "STEERING",
    "EdgeOfChaosSampler",
    "ProbedStart",
    "Steered",
    "Steering",
    "SteeringFailedError",
    "SteeringRecord",
    "find_steering",
    "steer",
]
