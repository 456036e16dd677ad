"""Recurrent layers step by step: torch's kernels have no batching rule outside of `grad`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lyapopt.dynamics.layers._dropout import Masks, dropout
from lyapopt.errors import NotStackableError

State = tuple[Tensor, ...]
Cell = Callable[[Tensor, State, Sequence[Tensor]], State]
"""From the input's share of the gates, the state and the hidden weights to the next state."""


def gru(masks: Masks, *args: Any) -> tuple[Tensor, Tensor]:
    """`torch.gru` on padded sequences."""
    output, (hidden,) = _run(masks, _gru, 1, *args)
    return output, hidden


def lstm(masks: Masks, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """`torch.lstm` on padded sequences."""
    output, (hidden, cell) = _run(masks, _lstm, 2, *args)
    return output, hidden, cell


def rnn_tanh(masks: Masks, *args: Any) -> tuple[Tensor, Tensor]:
    """`torch.rnn_tanh` on padded sequences."""
    output, (hidden,) = _run(masks, partial(_rnn, torch.tanh), 1, *args)
    return output, hidden


def rnn_relu(masks: Masks, *args: Any) -> tuple[Tensor, Tensor]:
    """`torch.rnn_relu` on padded sequences."""
    output, (hidden,) = _run(masks, partial(_rnn, torch.relu), 1, *args)
    return output, hidden


def gru_cell(input: Tensor, hidden: Tensor, w_input: Tensor, *weights: Tensor | None) -> Tensor:
    """`torch.gru_cell`."""
    return _one_cell(_gru, input, (hidden,), w_input, *weights)[0]


def lstm_cell(
    input: Tensor, state: Sequence[Tensor], w_input: Tensor, *weights: Tensor | None
) -> State:
    """`torch.lstm_cell`."""
    return _one_cell(_lstm, input, tuple(state), w_input, *weights)


def rnn_tanh_cell(
    input: Tensor, hidden: Tensor, w_input: Tensor, *weights: Tensor | None
) -> Tensor:
    """`torch.rnn_tanh_cell`."""
    return _one_cell(partial(_rnn, torch.tanh), input, (hidden,), w_input, *weights)[0]


def rnn_relu_cell(
    input: Tensor, hidden: Tensor, w_input: Tensor, *weights: Tensor | None
) -> Tensor:
    """`torch.rnn_relu_cell`."""
    return _one_cell(partial(_rnn, torch.relu), input, (hidden,), w_input, *weights)[0]


def _one_cell(
    cell: Cell,
    input: Tensor,
    state: State,
    w_input: Tensor,
    w_hidden: Tensor | None,
    b_input: Tensor | None = None,
    b_hidden: Tensor | None = None,
) -> State:
    gates = torch.nn.functional.linear(input, w_input, b_input)
    return cell(gates, state, [w for w in (w_hidden, b_hidden) if w is not None])


def _gru(gates: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    (hidden,) = state
    i_r, i_z, i_n = gates.chunk(3, -1)
    h_r, h_z, h_n = _hidden_gates(hidden, weights).chunk(3, -1)
    update = (i_z + h_z).sigmoid()
    candidate = (i_n + (i_r + h_r).sigmoid() * h_n).tanh()
    return (candidate + update * (hidden - candidate),)


def _lstm(gates: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    hidden, cell = state
    own, projection = _split_projection(weights)
    i, f, g, o = (gates + _hidden_gates(hidden, own)).chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    hidden = o.sigmoid() * cell.tanh()
    return (hidden if projection is None else hidden @ projection.mT, cell)


def _rnn(
    nonlinearity: Callable[[Tensor], Tensor], gates: Tensor, state: State, weights: Sequence[Tensor]
) -> State:
    return (nonlinearity(gates + _hidden_gates(state[0], weights)),)


def _hidden_gates(hidden: Tensor, weights: Sequence[Tensor]) -> Tensor:
    w_hidden, *bias = weights
    return torch.nn.functional.linear(hidden, w_hidden, *bias)


def _split_projection(weights: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor | None]:
    """The weights of the gates, and the projection of an LSTM with `proj_size`."""
    *own, last = weights
    is_projection = len(own) > 0 and last.dim() == 2
    return (own, last) if is_projection else (weights, None)


def _run(
    masks: Masks,
    cell: Cell,
    states: int,
    input: Tensor,
    initial: Any,
    flat_weights: Any,
    has_biases: Any,
    layers: int = 1,
    p: float = 0.0,
    training: bool = False,
    is_bidirectional: bool = False,
    batch_first: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """All layers and directions; the output, and the last states `(layers * directions, ...)`."""
    if isinstance(has_biases, Sequence):
        raise NotStackableError(
            "packed sequences of different lengths have no stacked form; pad them instead"
        )
    x = input.transpose(0, 1) if batch_first else input
    starts = [part.unbind(0) for part in ([initial] if states == 1 else initial)]
    directions = 2 if is_bidirectional else 1
    size = len(flat_weights) // (layers * directions)
    last = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            w = flat_weights[index * size : (index + 1) * size]
            start = tuple(part[index] for part in starts)
            output, state = _along_time(cell, x, start, w, bool(has_biases), direction == 1)
            outputs.append(output)
            last.append(state)
        x = torch.cat(outputs, -1) if is_bidirectional else outputs[0]
        if layer < layers - 1:
            x = dropout(masks, x, p, training)
    finals = [torch.stack(parts) for parts in zip(*last, strict=True)]
    return x.transpose(0, 1) if batch_first else x, finals


def _along_time(
    cell: Cell, x: Tensor, state: State, w: Sequence[Tensor], has_biases: bool, is_reversed: bool
) -> tuple[Tensor, State]:
    """One layer in one direction: outputs `(time, batch, hidden)` and the last state."""
    w_input, w_hidden, *rest = w
    b_input = rest.pop(0) if has_biases else None
    gates = torch.nn.functional.linear(x, w_input, b_input).unbind(0)
    outputs = []
    for now in reversed(gates) if is_reversed else gates:
        state = cell(now, state, [w_hidden, *rest])
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if is_reversed else outputs), state
