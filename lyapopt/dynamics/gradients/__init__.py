"""The ways to compute the gradients of a stack, behind one interface (`Gradients`).

`StackGradients` takes the fastest way that a model allows: perceptrons by passes that are written
out (`perceptron/`), other models by plain autograd if there is one row (`_single`) and by one pass
on batched operators if there are many (`_batched`, `rowwise/`), and whatever those do not know by
`torch.func.vmap` over a functional forward pass (`_vmap`), which derivatives always go through.
"""

from lyapopt.dynamics.gradients._interface import Gradients, RowGradients
from lyapopt.dynamics.gradients._stack import StackGradients
from lyapopt.dynamics.gradients._verification import verify_stack

__all__ = ["Gradients", "RowGradients", "StackGradients", "verify_stack"]
