"""Growth rates as tables, which is what figures are drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lyapopt.checks import Arguments

if TYPE_CHECKING:
    import pandas as pd


def row_of(system: int, count: int) -> int:
    """The place of one system, counted from the end where it is negative.

    Raises:
        UserError: If there is no such system.
    """
    place = Arguments("figure").whole("system", system)
    if not -count <= place < count:
        Arguments("figure").refuse(
            "system", system, f"one of the {count} systems, 0 to {count - 1}"
        )
    return place % count


def rate_table(
    rates: Float[Tensor, "segments columns"], segment_steps: Int[Tensor, " segments"]
) -> pd.DataFrame:
    """Growth rates until the end of each segment in the long form: `step`, `component`, `value`."""
    return _long(rates, segment_steps.cumsum(0))


def log_table(logs: Float[Tensor, "times neighbours"]) -> pd.DataFrame:
    """Log separations of one system in the long form: `step`, `component`, `value`."""
    return _long(logs, torch.arange(len(logs)))


def exponent_table(value: float, low: float, high: float, segment: int) -> pd.DataFrame:
    """One exponent with its interval, nats per step, as a study keeps it."""
    import pandas as pd  # slow to import, and not every result is drawn

    return pd.DataFrame({"value": [value], "low": [low], "high": [high], "segment": [segment]})


def _long(values: Tensor, steps: Tensor) -> pd.DataFrame:
    import pandas as pd  # as above

    rows, columns = values.shape
    return pd.DataFrame(
        {
            "step": steps.cpu().repeat_interleave(columns).numpy(),
            "component": torch.arange(columns).repeat(rows).numpy(),
            "value": values.detach().double().cpu().reshape(-1).numpy(),
        }
    )
