"""Layers as a stack has them, for models that run by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lyapopt.dynamics.draws import DRAWING, drawn
from lyapopt.dynamics.layers._mode import DeterministicLayers
from lyapopt.errors import NotStackableError


class SeededLayers(DeterministicLayers):
    """Dropout with the masks that a stack would have, and noise that is one in all precisions."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Answer for dropout; what else draws numbers draws them from a generator."""
        kwargs = kwargs or {}
        if self.is_random(func):
            try:
                return super().__torch_function__(func, types, args, kwargs)
            except NotStackableError:
                pass  # it draws from the generator, which is seeded
        if func in DRAWING:
            return drawn(func, args, kwargs, torch.float64)
        return func(*args, **kwargs)
