"""Textbook systems with known exponents, in the interface of every map: `step(z, t) -> z`.

Parameters are floats, or tensors with one value a system. Exponents are in nats per step.
"""

from lyapopt.dynamics.systems._flows import Flow, Lorenz, Rossler
from lyapopt.dynamics.systems._linear import LinearMap, RandomMatrices
from lyapopt.dynamics.systems._maps import (
    CatMap,
    Henon,
    Ikeda,
    Logistic,
    Lozi,
    StandardMap,
    Tent,
)
from lyapopt.dynamics.systems._textbook import TextbookSystem

__all__ = [
    "CatMap",
    "Flow",
    "Henon",
    "Ikeda",
    "LinearMap",
    "Logistic",
    "Lorenz",
    "Lozi",
    "RandomMatrices",
    "Rossler",
    "StandardMap",
    "Tent",
    "TextbookSystem",
]
