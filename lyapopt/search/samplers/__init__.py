"""Samplers that wrap another, or go through what is known, and what they share."""

from lyapopt.search.samplers.given import GivenSampler
from lyapopt.search.samplers.seeded import SeededSampler
from lyapopt.search.samplers.wrapping import WrappingSampler, wrapped_samplers

__all__ = ["GivenSampler", "SeededSampler", "WrappingSampler", "wrapped_samplers"]
