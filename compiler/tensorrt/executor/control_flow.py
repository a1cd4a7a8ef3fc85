"""Loops: how their values go from one iteration to the next, and what comes out of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..layers import Layer
from .call import ExecutorError
from .schedule import LoopStep, Step

Values = dict[str, Tensor]


def run_loop(step: LoopStep, values: Values, run_steps: Callable[[Sequence[Step], Values], None]) -> None:
    """Evaluate a loop and put its outputs into `values`.

    A WHILE limit is looked at before each iteration, a COUNT limit bounds them; with both, the first to end wins.
    """
    count, condition = _limits(step, values)
    recurrences, iterators = step.boundary["RECURRENCE"], step.boundary["ITERATOR"]
    collected: dict[str, list[Tensor]] = {output.outputs[0].name: [] for output in step.boundary["LOOP_OUTPUT"]}
    state = [values[layer.inputs[0].name] for layer in recurrences]
    iteration = 0
    while True:
        for layer, value in zip(recurrences, state, strict=True):
            values[layer.outputs[0].name] = value
        if count is not None and iteration >= count:
            break
        for layer in iterators:
            values[layer.outputs[0].name] = _iterated(layer, values, iteration, count)
        run_steps(step.head, values)
        if condition is not None and not bool(values[condition]):
            break
        run_steps(step.body, values)
        for output in step.boundary["LOOP_OUTPUT"]:
            if output.handle.kind.name != "LAST_VALUE":
                collected[output.outputs[0].name].append(values[output.inputs[0].name])
        state = [values[_next_value(layer)] for layer in recurrences]
        iteration += 1
    for output in step.boundary["LOOP_OUTPUT"]:
        values[output.outputs[0].name] = _result(output, values, collected[output.outputs[0].name], recurrences)
    inner = {name for nested in (*step.head, *step.body) for name in nested.writes}
    for name in inner.union(*({layer.outputs[0].name} for layer in (*recurrences, *iterators))):
        values.pop(name, None)


def _limits(step: LoopStep, values: Values) -> tuple[int | None, str | None]:
    """The trip count, and the name of the WHILE condition."""
    count: int | None = None
    condition: str | None = None
    for layer in step.boundary["TRIP_LIMIT"]:
        name = layer.inputs[0].name
        if layer.handle.kind.name == "COUNT":
            count = int(values[name])
        else:
            condition = name
    if count is None and condition is None:
        raise ExecutorError(f"loop {step.name!r} has no trip limit")
    return count, condition


def _iterated(layer: Layer, values: Values, iteration: int, count: int | None) -> Tensor:
    tensor = values[layer.inputs[0].name]
    if layer.handle.reverse and count is None:
        raise ExecutorError(f"{layer}: a reversed iterator needs a COUNT trip limit")
    position = count - 1 - iteration if layer.handle.reverse and count is not None else iteration
    if not 0 <= position < tensor.shape[layer.handle.axis]:
        raise ExecutorError(f"{layer}: iteration {position} is outside of {list(tensor.shape)}")
    return tensor.select(layer.handle.axis, position)


def _next_value(layer: Layer) -> str:
    if len(layer.inputs) < 2 or layer.inputs[1] is None:
        raise ExecutorError(f"{layer}: the value for the next iteration is not set")
    return str(layer.inputs[1].name)


def _result(output: Layer, values: Values, collected: list[Tensor], recurrences: Sequence[Layer]) -> Tensor:
    source, kind = output.inputs[0].name, output.handle.kind.name
    if kind == "LAST_VALUE":
        # NvInfer.h requires a recurrence here, whose last value is the one that no iteration consumed.
        if all(layer.outputs[0].name != source for layer in recurrences):
            raise ExecutorError(f"{output}: LAST_VALUE needs the output of a recurrence of the same loop")
        return values[source]
    axis, length = output.handle.axis, int(values[output.inputs[1].name])
    if not collected:
        raise ExecutorError(f"{output}: the loop made no iteration, so its result has no shape")
    if len(collected) != length:
        # TensorRT leaves the elements behind the last iteration undefined.
        raise ExecutorError(f"{output}: {len(collected)} iterations do not make a result of length {length}")
    return torch.stack(collected[::-1] if kind == "REVERSE" else collected, axis)
