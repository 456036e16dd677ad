"""Which trainings can be repeated with other weights; every entry point asks here, in one text.

A neighbour is trained by copies of the model on the same batches. It is a neighbour only if a loss
is a function of the copy's own tensors, of the batch and of random numbers: of nothing else that is
trained, and of nothing that an earlier pass has left behind.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.dynamics.unread import are_unread, have_no_effect
from lyapopt.errors import TrainingError

READS_MORE = (
    "the loss reads something that is not in the outputs of the model, such as the model itself; "
    "return what it needs from the forward pass"
)
KEEPS_STATE = (
    "a pass depends on what the pass before has left behind (a hidden state, a counter or a list "
    "in an attribute of the model, or something in the loss), where no neighbour can have its own; "
    "keep it in a buffer that the forward pass writes into"
)
HAS_HOOKS = (
    "a hook on a parameter or on the optimizer changes gradients or steps behind the optimizer's "
    "back, and copies would train without it; do the same in the loss, or by clip_grad_norm, "
    "weight_decay or a parameter group"
)
STEPS_MORE = (
    "the optimizer steps parameters that are not its model's, which no copy would have; put them "
    "into the module that is given as model"
)

STEPS_BY_CLOSURE = (
    "evaluates the loss as often as it likes in a step, by a closure, so that its step is no map "
    "of one gradient; use an optimizer that steps without a closure"
)

LossOf = Callable[[nn.Module], Tensor]
Attributes = Mapping[tuple[str, str], object]


@dataclass(frozen=True)
class Finding:
    """What two passes have shown.

    Attributes:
        has_drawn: Whether generators have moved, beside those of layers that are answered for.
        has_changed: Whether something outside of the model has changed, which had no effect, or
            a pass has written into weights.
    """

    has_drawn: bool
    has_changed: bool


def check_passes(
    copied: nn.Module, original: nn.Module, loss_of: LossOf, around: Surroundings
) -> Finding:
    """Run a copy of a model twice, from the same weights, buffers and random numbers.

    Args:
        copied: A copy of the model for this check alone, with tensors of its own.
        original: The model that others train; it must not be read.
        loss_of: The loss of a model on one batch.
        around: Kept as they are.

    Raises:
        TrainingError: If the two losses differ, read what is not the copy's, or depend on numbers
            that modules keep and change.
    """
    buffers = _buffers_of(copied)
    weights = list(zip(copied.parameters(), original.parameters(), strict=True))
    own = {id(parameter) for parameter in copied.parameters()}
    plain = plain_attributes(copied)
    reading = _Reads()
    with torch.enable_grad(), around.kept(seed=0, is_first=True) as kept:
        with reading:
            loss = loss_of(copied)
        trained = [p for p in original.parameters() if p.requires_grad]
        theirs = _buffers_of(original)
        moving = [t.tensor for t, now in zip(theirs, buffers, strict=True) if now.has_moved()]
        others = [each for each in leaves_of(loss) if id(each) not in own]
        if reading.has_read([*trained, *moving]) or not reading.has_made(others):
            raise TrainingError(READS_MORE)
        first = _differentiated(copied, loss)
        del loss
        once = plain_attributes(copied)
        has_written = not all(_are_equal(mine, theirs.to(mine)) for mine, theirs in weights)
        _begin_again(buffers, weights, around)
        second = loss_of(copied).detach()
        now = plain_attributes(copied)
        changed = {name: value for name, value in now.items() if plain.get(name) != value}

        def again() -> Tensor:
            _begin_again(buffers, weights, around)
            return _differentiated(copied, loss_of(copied))

        is_kept = (
            not _are_settled(changed, once)
            and not are_unread(copied, changed, again)
            and not have_no_effect(copied, changed, again)
        )
    margin = torch.finfo(first.dtype).eps ** 0.75
    is_kept |= kept.has_changed_much
    if is_kept or not (torch.allclose(first, second, rtol=margin, atol=0, equal_nan=True)):
        raise TrainingError(KEEPS_STATE)
    return Finding(kept.has_drawn, kept.has_changed or has_written)


def _are_settled(
    now: Mapping[tuple[str, str], object], once: Mapping[tuple[str, str], object]
) -> bool:
    """Whether what one pass has changed, such as a switch or a shape, stays so in the next.

    A number with a fraction may come from the weights, where each neighbour has its own.
    """
    return all(once.get(name) == v and not isinstance(v, float) for name, v in now.items())


def _begin_again(
    buffers: Iterable[_Buffer], weights: Iterable[tuple[Tensor, Tensor]], around: Surroundings
) -> None:
    """Put buffers, weights and generators where they were before a pass."""
    with torch.no_grad():
        for buffer in buffers:
            buffer.put_back()
        for mine, theirs in weights:
            mine.copy_(theirs)
    around.reseed(0)


def _are_equal(a: Tensor, b: Tensor) -> bool:
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def _differentiated(model: nn.Module, loss: Tensor) -> Tensor:
    """A loss after its backward pass, in which hooks of modules may take notes."""
    if loss.requires_grad:
        weights = [p for p in model.parameters() if p.requires_grad]
        torch.autograd.grad(loss.sum(), weights, allow_unused=True)
    return loss.detach().clone()


def check_hooks(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Refuse what changes gradients or steps behind the optimiser's back.

    Raises:
        TrainingError: If there is any.
    """
    steps: list[Any] = []
    if optimizer is not None:
        steps = [optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks]
    gradients = (
        hooks
        for parameter in model.parameters()
        for hooks in (parameter._backward_hooks, parameter._post_accumulate_grad_hooks)
    )
    if any(steps) or any(gradients):
        raise TrainingError(HAS_HOOKS)


def check_steps(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimiser that steps other parameters beside the model's, or needs a closure.

    Raises:
        TrainingError: If it does.
    """
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise TrainingError(f"{type(optimizer).__name__} {STEPS_BY_CLOSURE}")
    own = {id(parameter) for parameter in model.parameters()}
    stepped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    if own.intersection(stepped) and not own.issuperset(stepped):
        raise TrainingError(STEPS_MORE)


def plain_attributes(model: nn.Module) -> dict[tuple[str, str], object]:
    """Numbers, switches and strings that modules keep, by module and name."""
    return {
        (name, attribute): value
        for name, part in model.named_modules()
        for attribute, value in vars(part).items()
        if isinstance(value, bool | int | float | str)
    }


def leaves_of(loss: Tensor) -> list[Tensor]:
    """The trainable tensors that a loss depends on."""
    return [node.variable for node in graph_of(loss) if hasattr(node, "variable")]


def graph_of(loss: Tensor) -> set[Any]:
    """All nodes of the graph that a backward pass goes through."""
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    return seen


class _Buffer(NamedTuple):
    """A buffer at its place in a module."""

    owner: dict[str, Tensor | None]
    name: str
    tensor: Tensor
    value: Tensor
    version: int

    def has_moved(self) -> bool:
        return self.owner[self.name] is not self.tensor or self.tensor._version != self.version

    def put_back(self) -> None:
        self.owner[self.name] = self.tensor.copy_(self.value)


def _buffers_of(model: nn.Module) -> list[_Buffer]:
    return [
        _Buffer(part._buffers, name, buffer, buffer.clone(), buffer._version)
        for part in model.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]


class _Reads(TorchFunctionMode):
    """While it is active in a thread: which memory the functions of torch are given.

    And which tensors they give gradients to, such as inputs that a pass differentiates by.
    """

    def __init__(self) -> None:
        super().__init__()
        self._addresses: set[int] = set()
        self._made: dict[int, Tensor] = {}

    def has_read(self, tensors: Iterable[Tensor]) -> bool:
        """Whether any of these was read."""
        return not self._addresses.isdisjoint({_address(each) for each in tensors} - {0})

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Look at the arguments and call the function."""
        kwargs = kwargs or {}
        self._look_at((*args, *kwargs.values()))
        before = [id(each) for each in args if _is_leaf_with_gradient(each)]
        result = func(*args, **kwargs)
        for each in (result, *args[:1]):
            if _is_leaf_with_gradient(each) and id(each) not in before:
                self._made[id(each)] = each
        return result

    def has_made(self, tensors: Iterable[Tensor]) -> bool:
        """Whether all of these got their gradients while it was active."""
        return all(id(each) in self._made for each in tensors)

    def _look_at(self, value: object) -> None:
        if type(value) in (tuple, list):
            for part in value:  # type: ignore[attr-defined]
                self._look_at(part)
        elif isinstance(value, Tensor):
            self._addresses.add(_address(value))


def _is_leaf_with_gradient(value: object) -> bool:
    return isinstance(value, Tensor) and value.requires_grad and value.is_leaf


def _address(tensor: Tensor) -> int:
    with torch._C.DisableTorchFunction():
        return tensor.data_ptr() if tensor.layout == torch.strided else 0
