"""Limits of which TensorRT-RTX would lose the upper one."""

from __future__ import annotations

from typing import Any

from .context import ConverterContext
from .layers import iter_layers, topological


def limit_from_above_first(ctx: ConverterContext) -> None:
    """Let `min(max(x, low), high)` for numbers be `max(min(x, high), low)`, which is the same for low <= high.

    In `conv(clamp(conv(x), 0, 6) * y)` TensorRT-RTX 1.6 leaves out the upper limit on an H200, in float32 and halves:
    the first convolution ends in a ReLU. With the other order, and with a limit for each channel, it is right.
    """
    layers = [layer for layer in topological(iter_layers(ctx.library, ctx.network)) if layer.kind == "ELEMENTWISE"]
    # Operands are read from the layers themselves: a limit that moved is one that the next limit may have to pass.
    made_by = {tensor.name: layer.handle for layer in layers for tensor in layer.outputs}
    for layer in layers:
        limit: Any = layer.handle
        while limit is not None:
            limit = _above_first(ctx, limit, made_by, ctx.layer_nodes[layer.name])


def _above_first(ctx: ConverterContext, limit: Any, made_by: dict[str, Any], owner: Any) -> Any:
    """The limit from above that comes first now; None if there is nothing to change."""
    above = _limited(ctx, limit, "MIN")
    if above is None:
        return None
    source = made_by.get(limit.get_input(1 - above).name)
    below = None if source is None else _limited(ctx, source, "MAX")
    if source is None or below is None:
        return None
    high, low = limit.get_input(above), source.get_input(below)
    ctx.begin(owner)
    first = ctx.network.add_elementwise(source.get_input(1 - below), high, ctx.trt.ElementWiseOperation.MIN)
    ctx.enter(first, "above")
    made_by[first.get_output(0).name] = first
    # The layer's result keeps its name, by which it is an output or read.
    limit.op = ctx.trt.ElementWiseOperation.MAX
    limit.set_input(above, low if _number(ctx, low) <= _number(ctx, high) else high)
    limit.set_input(1 - above, first.get_output(0))
    return first


def _number(ctx: ConverterContext, tensor: Any) -> float:
    number = ctx.number_of(tensor)
    assert number is not None, tensor.name
    return number


def _limited(ctx: ConverterContext, layer: Any, operation: str) -> int | None:
    """Which operand of a MAX or MIN is a number, if the other one is none."""
    if layer.op.name != operation:
        return None
    found = [index for index in range(2) if ctx.number_of(layer.get_input(index)) is not None]
    return found[0] if len(found) == 1 else None
