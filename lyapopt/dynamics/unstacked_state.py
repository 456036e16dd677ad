"""The state of any model and `torch.optim` object as one flat vector, and back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lyapopt.errors import NotStackableError

_SQUARES = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "acc_delta")


class FlatState:
    """Where everything lies in a state: weights, optimiser, buffers, and a flag.

    The flag tells whether the optimiser has made a step: its own first state need not be zero, so
    that before the first step it has none.

    Args:
        optimizer: One that has made a step.
        parameters: The trained ones.
        buffers: Those of the model.

    Attributes:
        weights: How many numbers the weights are.
        squares: Which numbers of the state cannot be negative.
        is_buffer: Which numbers of the state are those of buffers.

    Raises:
        NotStackableError: If the optimiser keeps what no vector can hold.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[Tensor],
        buffers: Sequence[Tensor],
    ) -> None:
        self._optimizer = optimizer
        self._parameters = parameters
        self._tensors = [*parameters, *buffers]
        self._items, self._constants = _items_of(optimizer, parameters)
        sizes = [p.numel() for p in parameters]
        sizes_of_items = [item.shape.numel() for item in self._items]
        rest = [*(b.numel() for b in buffers), 1]
        self._sizes = [*sizes, *sizes_of_items, *rest]
        self.weights = sum(sizes)
        kept = self.weights + sum(sizes_of_items)
        self.is_buffer: Bool[Tensor, " dim"] = torch.arange(sum(self._sizes)) >= kept
        self.squares: Bool[Tensor, " dim"] = torch.cat(
            [
                torch.zeros(self.weights, dtype=torch.bool),
                *(torch.full((i.shape.numel(),), i.is_square) for i in self._items),
                torch.zeros(sum(rest), dtype=torch.bool),
            ]
        )

    def read(self, has_stepped: bool) -> Float[Tensor, " dim"]:
        """The present state, in the dtype of the first parameter."""
        like = self._parameters[0].detach()
        tensors = [p.detach().to(like).reshape(-1) for p in self._tensors]
        items = [self._read_item(item, like) for item in self._items]
        count = len(self._parameters)
        flag = like.new_full((1,), float(has_stepped))
        return torch.cat([*tensors[:count], *items, *tensors[count:], flag])

    def write(self, z: Float[Tensor, " dim"]) -> None:
        """Give the model and the optimiser a state."""
        *parts, flag = torch.split(z, self._sizes)
        first = len(self._parameters)
        last = first + len(self._items)
        with torch.no_grad():
            for tensor, part in zip(self._tensors, (*parts[:first], *parts[last:]), strict=True):
                tensor.copy_(part.view(tensor.shape))
        self._optimizer.state.clear()
        if bool(flag):
            for constant in self._constants:
                self._state_of(constant.parameter)[constant.name] = constant.value
            for item, part in zip(self._items, parts[first:last], strict=True):
                self._state_of(item.parameter)[item.name] = item.from_flat(part)

    def weights_of(self, z: Float[Tensor, " dim"]) -> list[Tensor]:
        """The weight block of a state or a tangent, in the shapes of the parameters."""
        sizes = self._sizes[: len(self._parameters)]
        parts = torch.split(z[: self.weights], sizes)
        return [part.view_as(p) for part, p in zip(parts, self._parameters, strict=True)]

    def _read_item(self, item: _Item, like: Tensor) -> Tensor:
        """One item as a vector of the dtype of `like`; zeros where there is none yet."""
        state = self._optimizer.state.get(self._parameters[item.parameter], {})
        value = state.get(item.name, 0)
        if not isinstance(value, Tensor):
            value = like.new_full(item.shape, float(value))
        return value.detach().to(like).reshape(-1)

    def _state_of(self, parameter: int) -> dict[str, Any]:
        state: dict[str, Any] = self._optimizer.state[self._parameters[parameter]]
        return state


class _Item(NamedTuple):
    """A number or tensor of an optimiser's state, which the flat state holds.

    Attributes:
        parameter: Position of the parameter that it belongs to.
        name: Its key in the optimiser's state.
        type: `Tensor`, or that of a number.
        shape: That of a tensor; empty for a number.
        dtype: That of a tensor; `None` for a number.
    """

    parameter: int
    name: str
    type: type
    shape: torch.Size
    dtype: torch.dtype | None

    @property
    def is_square(self) -> bool:
        return self.name in _SQUARES and len(self.shape) > 0

    def from_flat(self, part: Tensor) -> object:
        """The item as the optimiser keeps it."""
        if self.type is not Tensor:
            return self.type(part.item())
        kept = part.view(self.shape).to(dtype=self.dtype, copy=True)
        # Step counts lie on the CPU in most optimisers, whatever the parameters lie on.
        return kept.cpu() if self.name == "step" else kept


class _Constant(NamedTuple):
    """What an optimiser keeps that no step changes: `None` or a string."""

    parameter: int
    name: str
    value: str | None


def _items_of(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]
) -> tuple[list[_Item], list[_Constant]]:
    """What an optimiser that has made a step keeps for its parameters, in order."""
    known = set(map(id, parameters))
    if any(not isinstance(key, Tensor) or id(key) not in known for key in optimizer.state):
        raise NotStackableError(
            f"the optimizer {type(optimizer).__name__} keeps state that belongs to no parameter, "
            "so that no neighbour can have its own"
        )
    items: list[_Item] = []
    constants: list[_Constant] = []
    for position, parameter in enumerate(parameters):
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                items.append(_Item(position, name, Tensor, value.shape, value.dtype))
            elif type(value) in (int, float, bool):
                items.append(_Item(position, name, type(value), torch.Size(()), None))
            elif value is None or isinstance(value, str):
                constants.append(_Constant(position, name, value))
            else:
                raise NotStackableError(
                    f"the optimizer {type(optimizer).__name__} keeps {name}, a "
                    f"{type(value).__name__}, which is neither tensor nor number"
                )
    return items, constants


def layout_of(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[Tensor],
    take_step: Callable[[], object],
) -> FlatState:
    """The layout of the state, from a first step that is taken back.

    Args:
        model: A copy that may be trained.
        optimizer: Of the copy.
        parameters: The trained ones.
        take_step: Takes a step of both.

    Raises:
        NotStackableError: If something is kept where no neighbour can have its own.
    """
    buffers = list(model.buffers())
    state = copy.deepcopy(optimizer.state_dict())
    tensors = [tensor.detach().clone() for tensor in (*parameters, *buffers)]
    groups = [_settings(group) for group in optimizer.param_groups]
    before = _kept_outside_the_state(model, optimizer)
    take_step()
    after = _kept_outside_the_state(model, optimizer)
    for where, kept in before.items():
        if kept != after[where]:
            raise NotStackableError(
                f"a step changes numbers that are kept in {where}, where no neighbour can have "
                "its own; keep them in a buffer, or in the optimizer's state of a parameter"
            )
    found = FlatState(optimizer, parameters, buffers)
    for group, settings in zip(optimizer.param_groups, groups, strict=True):
        group.update(settings)
    optimizer.load_state_dict(state)
    with torch.no_grad():
        for tensor, value in zip((*parameters, *buffers), tensors, strict=True):
            tensor.copy_(value)
    return found


def _kept_outside_the_state(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, object]:
    """Numbers that are in no state, by where they are."""
    own = vars(optimizer).items()
    numbers = {name: value for name, value in own if isinstance(value, bool | int | float)}
    return {
        "a buffer that it replaces": list(map(id, model.buffers())),
        "attributes of the optimizer": numbers,
        "param_groups": [_settings(group) for group in optimizer.param_groups],
    }


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """Copies of what a parameter group holds beside its parameters."""
    return {name: copy.copy(value) for name, value in group.items() if name != "params"}
