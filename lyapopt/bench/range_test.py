"""The range test: a training whose rate rises at each step, and what its losses say of rates.

Source: L. Smith, arXiv:1506.01186. The paper leaves open which rate is taken in the end. Dividing
the rate of the lowest loss by ten is the habit of practitioners; fastai suggests the steepest
descent or, by default, the "valley" (`fastai.callback.schedule`): all are rivals here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from lyapopt.bench import Numbers
from lyapopt.dynamics import Training, stack
from lyapopt.dynamics.compilation import Compile

STEPS = 100
_DIVERGED = 4.0  # times the lowest loss so far, where the search for the steepest descent ends


def rising_losses(
    trainings: Sequence[Training], factors: Sequence[float], compile: Compile = "auto"
) -> Numbers:
    """Training losses while the rate rises, `(trainings, steps)`.

    Args:
        trainings: Each with the rate that it begins with.
        factors: On that rate, for every step.
        compile: Whether steps are compiled.
    """
    schedule = _Rising(tuple(factors))
    rising = [
        dataclasses.replace(training, scheduler=schedule, steps=len(factors))
        for training in trainings
    ]
    losses = np.full((len(rising), len(factors)), np.nan)
    for rows, step in stack(rising, compile=compile):
        z = step.initial_state()
        for t in range(len(factors)):
            z, loss = step.step_with_losses(z, t)
            losses[rows, t] = loss[:, 0].cpu().numpy()
    return losses


@dataclasses.dataclass(frozen=True)
class _Rising:
    """A schedule that stacks: the factor on the rate at every step, constant after the last."""

    factors: tuple[float, ...]

    def __call__(self, step: int) -> float:
        return self.factors[min(step, len(self.factors) - 1)]


def step_of_lowest_loss(losses: Numbers) -> int:
    """The step at which the smoothed loss is lowest.

    Args:
        losses: Losses of one training, `(steps,)`.
    """
    smooth = _smoothed(losses, keep=0.8)
    return int(np.where(np.isfinite(smooth), smooth, np.inf).argmin())


def step_of_steepest_descent(losses: Numbers) -> int:
    """The step at which the smoothed loss falls fastest, before it has grown to four times its
    minimum.

    Args:
        losses: Losses of one training, `(steps,)`.
    """
    smooth = _before_divergence(losses)
    return int(np.gradient(smooth).argmin()) if len(smooth) > 1 else 0


def step_of_valley(losses: Numbers) -> int:
    """The step after two thirds of the longest stretch over which the smoothed loss falls.

    A stretch is a subsequence: rises in between are left out.

    Args:
        losses: Losses of one training, `(steps,)`.
    """
    smooth = _before_divergence(losses)
    length = np.ones(len(smooth), dtype=np.int64)
    for i in range(1, len(smooth)):
        higher = smooth[:i] > smooth[i]
        length[i] = 1 + (length[:i][higher].max() if higher.any() else 0)
    end = int(length.argmax()) if len(length) else 0
    return end - int(length[end]) // 3 if len(length) else 0


def _before_divergence(losses: Numbers) -> Numbers:
    """Smoothed losses up to where they are four times their minimum, or not finite."""
    smooth = _smoothed(losses, keep=0.9)
    has_diverged = ~np.isfinite(smooth) | (smooth > _DIVERGED * np.minimum.accumulate(smooth))
    return smooth[: int(has_diverged.argmax())] if has_diverged.any() else smooth


def _smoothed(losses: Numbers, keep: float) -> Numbers:
    """Exponential mean, corrected for its start; NaN from the first loss on that is not finite."""
    mean, found = 0.0, np.full(len(losses), np.nan)
    for i, loss in enumerate(losses):
        if not np.isfinite(loss):
            break
        mean = keep * mean + (1 - keep) * loss
        found[i] = mean / (1 - keep ** (i + 1))
    return found
