"""What a map computes once and keeps must not belong to a transform of `torch.func`.

Tensors that are made while `jvp` or `vmap` runs are wrapped for it, whatever they are made from.
A cache filled then would hold on to the transform after its end.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch._functorch import pyfunctorch

# Private, so that it may go: caches then hold dead wrappers, which torch unwraps by itself.
_clear = getattr(pyfunctorch, "temporarily_clear_interpreter_stack", nullcontext)


def outside_transforms() -> AbstractContextManager[object]:
    """Context in which tensors are made as if no transform was running."""
    context: AbstractContextManager[object] = _clear()
    return context
