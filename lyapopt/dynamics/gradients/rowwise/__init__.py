"""Models on stacked tensors without `vmap`: the calls that are known, as few kernels as possible.

`torch.func.vmap` knows every operation, and pays for that at each call. Here a model's own forward
pass runs on `Rows`, which know the common operations in their stacked form and refuse the others;
whoever meets a refusal goes back to `vmap`.
"""

from lyapopt.dynamics.gradients.rowwise import _convolution, _linear, _losses, _shapes
from lyapopt.dynamics.gradients.rowwise._elementwise import register as _register_elementwise
from lyapopt.dynamics.gradients.rowwise._rows import NoRule, Rows

_register_elementwise()
_shapes.register()
_linear.register()
_losses.register()
_convolution.register()

__all__ = ["NoRule", "Rows"]
