"""Limits of which TensorRT-RTX would lose the upper one."""

from __future__ import annotations

from typing import Any

from .context import ConverterContext
from .layers import Layer, iter_layers, topological


def limit_from_above_first(ctx: ConverterContext) -> None:
    """Let `min(max(x, low), high)` for numbers be `max(min(x, high), low)`, which is the same for low <= high.

    In `conv(clamp(conv(x), 0, 6) * y)` TensorRT-RTX 1.6 leaves out the upper limit on an H200, in float32 and halves:
    the first convolution ends in a ReLU. With the other order, and with a limit for each channel, it is right.
    """
    layers = topological(iter_layers(ctx.library, ctx.network))
    producers = {tensor.name: layer for layer in layers for tensor in layer.outputs}
    for layer in layers:
        above = _limited(ctx, layer, "MIN")
        source = producers.get(layer.inputs[1 - above].name) if above is not None else None
        below = _limited(ctx, source, "MAX") if source is not None else None
        if above is None or source is None or below is None:
            continue
        high, low = layer.inputs[above], source.inputs[below]
        ctx.begin(ctx.layer_nodes[layer.name])
        first = ctx.network.add_elementwise(source.inputs[1 - below], high, ctx.trt.ElementWiseOperation.MIN)
        ctx.enter(first, "above")
        # The layer's result keeps its name, by which it is an output or read.
        layer.handle.op = ctx.trt.ElementWiseOperation.MAX
        layer.handle.set_input(above, low if ctx.number_of(low) <= ctx.number_of(high) else high)
        layer.handle.set_input(1 - above, first.get_output(0))


def _limited(ctx: ConverterContext, layer: Layer, operation: str) -> int | None:
    """Which operand of a MAX or MIN is a number, if the other one is none."""
    if layer.kind != "ELEMENTWISE" or layer.handle.op.name != operation:
        return None
    found: list[Any] = [index for index, tensor in enumerate(layer.inputs) if ctx.number_of(tensor) is not None]
    return found[0] if len(found) == 1 else None
