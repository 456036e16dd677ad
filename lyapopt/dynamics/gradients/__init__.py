"""The ways to compute the gradients of a stack, behind one interface (`Gradients`).

`StackGradients` takes the fastest way that a model allows: one row by plain autograd (`_single`),
many by one pass on batched operators (`_batched`, `rowwise/`), and whatever those do not know by
`torch.func.vmap` over a functional forward pass (`_vmap`), which derivatives always go through.
"""

from lyapopt.dynamics.gradients._interface import Gradients, RowGradients
from lyapopt.dynamics.gradients._stack import StackGradients
from lyapopt.dynamics.gradients._verification import verify_stack

__all__ = ["Gradients", "RowGradients", "StackGradients", "verify_stack"]
