"""Where numbers go: rows of plain data for JSON; pages of figures are `lyapopt.figures.page`."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: a number that is not finite is `None`.

    Example:
        >>> plain_rows(pd.DataFrame({"a": [1.0, float("nan")]}))
        [{'a': 1.0}, {'a': None}]
    """
    return [
        {str(name): _finite(value) for name, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


def _finite(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
