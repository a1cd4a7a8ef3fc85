"""ELU between two loops, with which TensorRT-RTX builds no engine."""

from __future__ import annotations

from .context import ConverterContext
from .layers import iter_layers


def write_elu_as_selu(ctx: ConverterContext) -> None:
    """Let ELU layers of networks with loops be SELU layers of scale 1, which compute the same.

    The builder of TensorRT-RTX 1.6 ends in "shape.cpp:6867: CHECK(false) failed" where ELU stands between two recurrent
    layers, as in Encodec: LSTM, ELU, convolution, LSTM. Every other activation is fine there.
    """
    layers = list(iter_layers(ctx.library, ctx.network))
    if not any(layer.kind == "TRIP_LIMIT" for layer in layers):
        return
    kinds = ctx.trt.ActivationType
    for layer in layers:
        if layer.kind == "ACTIVATION" and layer.handle.type == kinds.ELU:
            layer.handle.type = kinds.SELU
            layer.handle.beta = 1.0
