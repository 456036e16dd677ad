"""The whole step of a stack as one compiled program.

The step is recorded once (forward pass, backward pass, clipping and update as one graph of torch's
basic operations) and handed to `torch.compile`. Compiling takes tens of seconds and saves about
half of every step, so that it pays only where one shape is stepped many thousand times.
"""

from __future__ import annotations

import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lyapopt.dynamics.system import System

Compile = Literal["auto", "on", "off"]
"""`on` compiles every shape on its first step, `auto` where it will pay."""

Step = Callable[[Tensor, Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, Tensor]]
"""From state, batch and coefficients to the next state and the losses."""

_LOG = logging.getLogger(__name__)
_SECONDS_TO_COMPILE = 20.0  # measured on one core, 10 to 30 for multilayer perceptrons
_SHARE_SAVED = 0.4
_FLOPS_PER_SECOND = 8e9  # of small products on one core
_SECONDS_PER_STEP = 3e-4  # Python and kernel launches of a step, however small
_KEPT = 8  # programs in memory

_programs: OrderedDict[Hashable, Step] = OrderedDict()


def will_pay(systems: Sequence[System], trajectories: int, steps: int | None) -> bool:
    """Whether compiling costs less than it saves over a number of steps.

    A rule on sizes and not on the clock, so that runs repeat: compiled and eager steps differ in
    rounding.
    """
    if steps is None or not all(map(is_recordable, systems)):
        return False
    first = systems[0]
    rows = len(systems) * trajectories
    flops = 6.0 * len(first.trace.gradient) * first.order.size * rows
    seconds = steps * (_SECONDS_PER_STEP + flops / _FLOPS_PER_SECOND)
    return _SHARE_SAVED * seconds > _SECONDS_TO_COMPILE


def is_recordable(system: System) -> bool:
    """Whether nothing but torch's own layers run: a record does not see what other code reads."""
    parts: list[Any] = [*system.training.model.modules(), system.training.loss_fn]
    sources = [type(part) if isinstance(part, nn.Module) else part for part in parts]
    return not depends_on_time(system) and all(
        str(getattr(source, "__module__", "")).startswith("torch.") for source in sources
    )


def depends_on_time(system: System) -> bool:
    """Whether the forward pass reads the number of the step (masks, counters)."""
    return system.trace.needs_layers or bool(system.trace.counter_names)


def compiled_step(step: Step, example: tuple[Any, ...], key: Hashable | None) -> Step | None:
    """`step` as a program for inputs of one shape; `None` with a line in the log if that fails.

    Args:
        step: Without state of its own.
        example: Its arguments.
        key: Equal only for steps that are the same function; `None` where that is not known.
    """
    if key is not None and key in _programs:
        _programs.move_to_end(key)
        return _programs[key]
    try:
        program = _compile(step, example)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        _LOG.warning("steps run uncompiled: %s: %s", type(error).__name__, reason)
        return None
    if key is not None:
        _programs[key] = program
        if len(_programs) > _KEPT:
            _programs.popitem(last=False)
    return program


def _compile(step: Step, example: tuple[Any, ...]) -> Step:
    from torch.fx.experimental.proxy_tensor import make_fx

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program: Step = torch.compile(make_fx(step)(*example), dynamic=False, fullgraph=True)
        program(*example)  # compiles, and fails here if it fails
    return program
