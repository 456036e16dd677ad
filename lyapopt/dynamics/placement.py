"""Tables that are made on the host, moved to where the state is."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(table: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A table of the host on a device; nobody waits for the copy.

    A copy from ordinary memory makes the host wait for all that a GPU still has to do. From pinned
    memory it takes its turn among the kernels.

    Args:
        table: Not changed afterwards.
        device: Where to.
        dtype: Which to convert to.
    """
    table = table.to(dtype)
    if device.type != "cuda":
        return table.to(device)
    return table.pin_memory().to(device, non_blocking=True)
