"""Recurrent layers and cells whose weights are quantised, step by step, as ATen's RNN.cpp computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch.nn import functional as F

from .grid import quantised_now
from .packed import Packed, PackedCell
from .twin import Unconverted

_MOST_STEPS = 64
"""Of a sequence: each is a dozen of operators for every layer."""

State = tuple[torch.Tensor, ...]
Step = Callable[[torch.Tensor, torch.Tensor, State], State]
"""From the products with the input and with the state, and the state, to the next state, whose first is the result."""


def _product(x: torch.Tensor, packed: Packed, reduce_range: bool = True) -> torch.Tensor:
    return F.linear(quantised_now(x, reduce_range), packed.real(), packed.bias)


def _lstm_step(given: torch.Tensor, kept: torch.Tensor, state: State) -> State:
    enter, forget, cell, out = (given + kept).chunk(4, -1)
    now = torch.sigmoid(forget) * state[1] + torch.sigmoid(enter) * torch.tanh(cell)
    return torch.sigmoid(out) * torch.tanh(now), now


def _gru_step(given: torch.Tensor, kept: torch.Tensor, state: State) -> State:
    of_input, of_state = given.chunk(3, -1), kept.chunk(3, -1)
    reset, update = torch.sigmoid(of_input[0] + of_state[0]), torch.sigmoid(of_input[1] + of_state[1])
    new = torch.tanh(of_input[2] + reset * of_state[2])
    return ((state[0] - new) * update + new,)


def _simple_step(function: Callable[[torch.Tensor], torch.Tensor]) -> Step:
    return lambda given, kept, state: (function(given + kept),)


def _cell(step: Step) -> Callable[..., Any]:
    def call(x: torch.Tensor, state: Any, given: Packed, kept: Packed, *_: Any) -> Any:
        before = tuple(state) if isinstance(state, list | tuple) else (state,)
        after = step(_product(x, given), _product(before[0], kept), before)
        return after if len(after) > 1 else after[0]

    return call


def _layers(step: Step, in_halves: Callable[..., Any]) -> Callable[..., Any]:
    """A recurrent module of several layers; one in halves is what PyTorch computes with these weights."""

    def call(
        x: torch.Tensor,
        states: Any,
        cells: Any,
        biases: bool,
        layers: int,
        dropout: float,
        train: bool,
        both_ways: bool,
        batch_first: bool,
        *_: Any,
    ) -> Any:
        states = (states,) if isinstance(states, torch.Tensor) else tuple(states)
        if not all(isinstance(cell, PackedCell) for cell in cells):
            raise Unconverted("it has a quantised recurrent layer in a form that is not known here")
        several = len(states) > 1
        if not cells[0].at_run_time:
            weights = [part for cell in cells for part in _weights(cell)]
            state = list(states) if several else states[0]
            return in_halves(
                x, state, weights, weights[2] is not None, layers, dropout, bool(train), bool(both_ways), batch_first
            )
        x = x.transpose(0, 1) if batch_first else x
        if not isinstance(x.size(0), int) or x.size(0) > _MOST_STEPS:
            raise Unconverted(
                f"it has a quantised recurrent layer over more than {_MOST_STEPS} steps, or over any number"
            )
        ends = []
        for layer in range(layers):
            results = []
            for way in range(2 if both_ways else 1):
                place = layer * (2 if both_ways else 1) + way
                outputs, end = _one_way(x, tuple(state[place] for state in states), cells[place], step, way == 1)
                results.append(outputs)
                ends.append(end)
            x = torch.cat(results, -1)
        final = [torch.stack(parts) for parts in zip(*ends, strict=True)]
        return (x.transpose(0, 1) if batch_first else x, *final)

    return call


def _weights(cell: PackedCell) -> list[Any]:
    parts = [cell.given.weight, cell.kept.weight]
    biases = [cell.given.bias, cell.kept.bias]
    return parts if None in biases else [*parts, *biases]


def _one_way(
    x: torch.Tensor, state: State, cell: PackedCell, step: Step, backwards: bool
) -> tuple[torch.Tensor, State]:
    given = _product(x, cell.given, cell.reduce_range).unbind(0)
    results = []
    for index in range(len(given))[:: -1 if backwards else 1]:
        state = step(given[index], _product(state[0], cell.kept, cell.reduce_range), state)
        results.append(state[0])
    return torch.stack(results[:: -1 if backwards else 1]), state


RECURRENT_LAYERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "quantized::quantized_lstm_cell_dynamic": _cell(_lstm_step),
        "quantized::quantized_gru_cell_dynamic": _cell(_gru_step),
        "quantized::quantized_rnn_tanh_cell_dynamic": _cell(_simple_step(torch.tanh)),
        "quantized::quantized_rnn_relu_cell_dynamic": _cell(_simple_step(torch.relu)),
        "aten::quantized_lstm": _layers(_lstm_step, torch.lstm),
        "aten::quantized_gru": _layers(_gru_step, torch.gru),
    }
)
