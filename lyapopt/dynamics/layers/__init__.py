"""Layers as pure functions of (state, seed, step), which `vmap` and `jvp` can go through."""

from lyapopt.dynamics.layers._mode import DeterministicLayers
from lyapopt.dynamics.layers._seeded import SeededLayers

__all__ = ["DeterministicLayers", "SeededLayers"]
