"""A TensorRT network as a picture: one box per layer, in the frames of the modules that the layers come from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ..compiler.ir.network import Network
from ..compiler.ir.program import Program
from ..compiler.ir.source import module_of
from ..compiler.tensorrt.layers import Layer, attributes, iter_layers, tensor_text, topological
from .collapse import collapsed
from .picture import Box, Edge, Picture

LIMIT = 400
_MAX_LINE = 44
_RESHAPING = ("SHUFFLE", "CAST", "IDENTITY", "SQUEEZE", "UNSQUEEZE")


def network_picture(
    built: Network, program: Program | None = None, title: str = "TensorRT network", limit: int = LIMIT
) -> Picture:
    """The network with one box per layer, at most `limit` boxes; constants are text in the layers that read them.

    `program` tells which module each layer comes from; without it there are no frames and only long runs are folded.
    """
    layers = topological(iter_layers(built.trt, built.network))
    modules = {node.name: module_of(node) for node in program.op_nodes} if program is not None else {}
    constants = _constants(layers)
    network = built.network
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    drawn = [layer for layer in layers if not _is_constant(layer, constants) or _is_output(layer, outputs)]
    producer = {tensor.name: f"layer {layer.name}" for layer in drawn for tensor in layer.outputs}
    producer.update({tensor.name: f"input {tensor.name}" for tensor in inputs})
    boxes = [
        *(Box(f"input {tensor.name}", (tensor.name, tensor_text(tensor)), "input") for tensor in inputs),
        *(_layer_box(layer, constants, modules, built.layer_nodes) for layer in drawn),
        *(Box(f"output {tensor.name}", (tensor.name, tensor_text(tensor)), "output") for tensor in outputs),
    ]
    edges = _edges(drawn, producer)
    edges += [Edge(producer[tensor.name], f"output {tensor.name}") for tensor in outputs if tensor.name in producer]
    hidden = len(layers) - len(drawn)
    remarks = (f"{hidden:,} constant layers are text in the layers that read them",) if hidden else ()
    whole = f"{title}: {len(layers):,} layers"
    picture = Picture(whole, tuple(boxes), tuple(dict.fromkeys(edges)), remarks=remarks, unit="layer")
    return collapsed(picture, limit, limit)


def _constants(layers: Iterable[Layer]) -> set[str]:
    """Names of tensors that are constant: those of constant layers, and of layers that only reshape or cast them."""
    found: set[str] = set()
    for layer in layers:
        read = [tensor.name for tensor in layer.inputs if tensor is not None]
        if layer.kind == "CONSTANT" or (layer.kind in _RESHAPING and read and found.issuperset(read)):
            found.update(tensor.name for tensor in layer.outputs)
    return found


def _is_constant(layer: Layer, constants: Collection[str]) -> bool:
    return all(tensor.name in constants for tensor in layer.outputs)


def _is_output(layer: Layer, outputs: list[object]) -> bool:
    names = {tensor.name for tensor in outputs}  # type: ignore[attr-defined]
    return any(tensor.name in names for tensor in layer.outputs)


def _edges(layers: list[Layer], producer: Mapping[str, str]) -> list[Edge]:
    return [
        Edge(producer[tensor.name], f"layer {layer.name}", tooltip=f"{tensor.name}: {tensor_text(tensor)}")
        for layer in layers
        for tensor in layer.inputs
        if tensor is not None and tensor.name in producer
    ]


def _layer_box(
    layer: Layer, constants: Collection[str], modules: Mapping[str, str], layer_nodes: Mapping[str, str]
) -> Box:
    texts = attributes(layer)
    kind = next((texts[name] for name in ("op", "type", "operation", "norm_op") if name in texts), "")
    types = ", ".join(tensor_text(tensor) for tensor in layer.outputs)
    reads = ", ".join(
        f"const {tensor_text(tensor)}" for tensor in layer.inputs if tensor is not None and tensor.name in constants
    )
    node = layer_nodes.get(layer.name, "")
    lines = [f"{layer.kind} {kind}".strip(), types, reads, layer.name]
    details = "\n".join(f"{name} = {text}" for name, text in texts.items())
    return Box(
        id=f"layer {layer.name}",
        lines=tuple(line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE - 1]}…" for line in lines if line),
        kind="layer",
        verdicts={"": 1},
        module=modules.get(node, ""),
        signature="|".join((layer.kind, kind, types, reads, *(f"{name}={text}" for name, text in texts.items()))),
        nodes=(node,) if node else (),
        tooltip="\n".join(text for text in (layer.name, types, details, f"from %{node}" if node else "") if text),
        url=f"#node={node}" if node else "",
    )
