"""LSTM, GRU and plain recurrent layers: one TensorRT loop per layer and direction, whatever the sequence's length.

The products with the inputs do not depend on the step, so they are one matrix product before the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.operators import GRU, LSTM, RNN_RELU, RNN_TANH
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.loops import Loop, stacked
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import Tensor
from .conditions import FLOATS, dtype_of, never
from .linear import product

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("recurrent")

_PACKED = never(
    "TP204",
    "the sequences are not packed",
    "{op}: the sequences are packed, so their lengths are values of a tensor; pad them and pass the padded tensor",
)


@dataclass(frozen=True)
class _Weights:
    """The parameters of one layer in one direction; G is the number of gates times the hidden size H.

    Attributes:
        inputs: [G, I].
        hidden: [G, H], or [G, P] with a projection.
        input_bias, hidden_bias: [G], or None.
        projection: [P, H], or None.
    """

    inputs: Tensor
    hidden: Tensor
    input_bias: Tensor | None
    hidden_bias: Tensor | None
    projection: Tensor | None


Step = Callable[["ConverterContext", "_Weights", Tensor, Sequence[Tensor]], tuple[Tensor, ...]]
"""`(ctx, weights, gates, states)` to the next states; `gates` [B, G] come from the input, states[0] is the output."""


def _lstm_step(ctx: ConverterContext, weights: _Weights, gates: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    hidden, cell = states
    gates = ar.elementwise(ctx, "SUM", gates, product(ctx, hidden, weights.hidden, transposed=(False, True)), "gates")
    ingoing, forget, candidate, outgoing = _split(ctx, gates, 4)
    kept = ar.multiply(ctx, _sigmoid(ctx, forget), cell, "kept")
    new = ar.multiply(ctx, _sigmoid(ctx, ingoing), _tanh(ctx, candidate), "new")
    cell = ar.elementwise(ctx, "SUM", kept, new, "cell")
    hidden = ar.multiply(ctx, _sigmoid(ctx, outgoing), _tanh(ctx, cell), "hidden")
    if weights.projection is not None:
        hidden = product(ctx, hidden, weights.projection, transposed=(False, True), role="projection")
    return hidden, cell


def _gru_step(ctx: ConverterContext, weights: _Weights, gates: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    (hidden,) = states
    recurrent = product(ctx, hidden, weights.hidden, transposed=(False, True))
    if weights.hidden_bias is not None:
        recurrent = ar.binary(ctx, "SUM", recurrent, weights.hidden_bias, "recurrent")
    ours, theirs = _split(ctx, gates, 3), _split(ctx, recurrent, 3)
    reset, update = (_sigmoid(ctx, ar.elementwise(ctx, "SUM", ours[i], theirs[i], "gate")) for i in range(2))
    remembered = ar.multiply(ctx, reset, theirs[2], "remembered")
    candidate = _tanh(ctx, ar.elementwise(ctx, "SUM", ours[2], remembered, "candidate"))
    change = ar.multiply(ctx, update, ar.elementwise(ctx, "SUB", hidden, candidate, "change"), "update")
    return (ar.elementwise(ctx, "SUM", candidate, change, "hidden"),)


def _plain_step(activation: Callable[..., Tensor]) -> Step:
    def step(ctx: ConverterContext, weights: _Weights, gates: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        recurrent = product(ctx, states[0], weights.hidden, transposed=(False, True))
        return (activation(ctx, ar.elementwise(ctx, "SUM", gates, recurrent, "gates"), role="hidden"),)

    return step


def _split(ctx: ConverterContext, gates: Tensor, count: int) -> list[Tensor]:
    size = gates.shape[-1] // count
    return [shapes.slice_axis(ctx, gates, -1, index * size, size, role="gate") for index in range(count)]


def _sigmoid(ctx: ConverterContext, x: Tensor) -> Tensor:
    return ar.activation(ctx, "SIGMOID", x, role="sigmoid")


def _tanh(ctx: ConverterContext, x: Tensor, role: str = "tanh") -> Tensor:
    return ar.activation(ctx, "TANH", x, role=role)


# --- layers and directions -------------------------------------------------------------------------------------------
def _static_gates(call: Call) -> str | None:
    dynamic = [str(p.shape) for p in call.value("params") if not all(isinstance(size, int) for size in p.shape)]
    return f"{call.op}: a parameter has the dynamic shape {dynamic[0]}" if dynamic else None


_CONDITIONS = (
    dtype_of("input", FLOATS),
    Condition("TP203", "the parameters have static shapes", _static_gates),
)


@FAMILY.converter(aten.lstm.input, LSTM, conditions=_CONDITIONS, composite=True)
def lstm(ctx: ConverterContext, call: Call) -> tuple[Tensor, ...]:
    """A stack of LSTM layers in one or both directions, also with projections."""
    initial = [ctx.tensor(state) for state in call.arg("hx")]
    return _run(ctx, call, initial, _lstm_step, separate_bias=False)


@FAMILY.converter(aten.gru.input, GRU, conditions=_CONDITIONS, composite=True)
def gru(ctx: ConverterContext, call: Call) -> tuple[Tensor, ...]:
    """A stack of GRU layers in one or both directions."""
    return _run(ctx, call, [ctx.tensor(call.arg("hx"))], _gru_step, separate_bias=True)


@FAMILY.converter(aten.rnn_tanh.input, aten.rnn_relu.input, RNN_TANH, RNN_RELU, conditions=_CONDITIONS, composite=True)
def rnn(ctx: ConverterContext, call: Call) -> tuple[Tensor, ...]:
    """A stack of recurrent layers with tanh or ReLU, in one or both directions."""
    step = _plain_step(_tanh if call.target in (aten.rnn_tanh.input, RNN_TANH) else ar.relu)
    return _run(ctx, call, [ctx.tensor(call.arg("hx"))], step, separate_bias=False)


@FAMILY.converter(aten.lstm.data, aten.gru.data, aten.rnn_tanh.data, aten.rnn_relu.data, conditions=[_PACKED])
def packed(ctx: ConverterContext, call: Call) -> None:
    """Packed sequences stay in PyTorch: how many steps each of them takes depends on values."""


def _run(
    ctx: ConverterContext, call: Call, initial: Sequence[Tensor], step: Step, *, separate_bias: bool
) -> tuple[Tensor, ...]:
    """All layers; `separate_bias` if the cell adds the hidden bias by itself.

    Returns the output [T, B, directions * H] (batch first if the call says so), and for each of the `initial` states
    [layers * directions, B, H] the states after the last step.
    """
    x, batch_first = ctx.tensor(call.arg("input")), call.value("batch_first")
    directions = 2 if call.value("bidirectional") else 1
    weights = _weights(ctx, call)
    x = shapes.swap(ctx, x, 0, 1, "time_first") if batch_first else x
    final: list[tuple[Tensor, ...]] = []
    for layer in range(call.value("num_layers")):
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            states = [shapes.select_index(ctx, state, 0, index, "initial") for state in initial]
            output, last = _one(ctx, x, states, weights[index], step, bool(direction), separate_bias)
            outputs.append(output)
            final.append(last)
        x = shapes.concatenate(ctx, outputs, -1, "directions")
    result = shapes.swap(ctx, x, 0, 1, "batch_first") if batch_first else x
    return result, *(stacked(ctx, states, "final") for states in zip(*final, strict=True))


def _one(
    ctx: ConverterContext,
    x: Tensor,
    initial: Sequence[Tensor],
    weights: _Weights,
    step: Step,
    reverse: bool,
    separate_bias: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer in one direction: the outputs [T, B, H] and the last states."""
    gates = product(ctx, x, weights.inputs, transposed=(False, True), role="inputs")
    for bias in (weights.input_bias, None if separate_bias else weights.hidden_bias):
        gates = gates if bias is None else ar.binary(ctx, "SUM", gates, bias, "inputs")
    loop = Loop(ctx, x.shape[0])
    states = [loop.carried(state) for state in initial]
    following = step(ctx, weights, loop.element(gates, reverse=reverse), states)
    for state, value in zip(states, following, strict=True):
        loop.carry(state, value)
    return loop.collected(following[0], reverse=reverse), tuple(loop.last(state) for state in states)


def _weights(ctx: ConverterContext, call: Call) -> list[_Weights]:
    """The parameters by layer and direction, in the order in which PyTorch lists them."""
    params = [ctx.tensor(parameter) for parameter in call.arg("params")]
    biases = 2 if call.value("has_biases") else 0
    cells = call.value("num_layers") * (2 if call.value("bidirectional") else 1)
    each = len(params) // cells
    groups = [params[start : start + each] for start in range(0, len(params), each)]
    return [
        _Weights(
            inputs=group[0],
            hidden=group[1],
            input_bias=group[2] if biases else None,
            hidden_bias=group[3] if biases else None,
            projection=group[2 + biases] if each > 2 + biases else None,
        )
        for group in groups
    ]
