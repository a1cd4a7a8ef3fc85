"""Read a real `INetworkDefinition` back: its layers with their own classes, in topological order, and as text.

`INetworkDefinition.get_layer` gives plain `ILayer` objects. Their `__class__` can be set to the class of their
`LayerType`, after which every attribute is readable; TensorRT does not check the class, and a wrong one crashes the
process, so the table below is the only place where that is done.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..ir.dtypes import short_name
from .dtypes import trt_short_name
from .loader import TensorRT, dims_or_none, tensor_shape

_CLASS_NAMES = {
    "ACTIVATION": "IActivationLayer",
    "ASSERTION": "IAssertionLayer",
    "ATTENTION_INPUT": "IAttentionInputLayer",
    "ATTENTION_OUTPUT": "IAttentionOutputLayer",
    "CAST": "ICastLayer",
    "CONCATENATION": "IConcatenationLayer",
    "CONDITION": "IConditionLayer",
    "CONDITIONAL_INPUT": "IIfConditionalInputLayer",
    "CONDITIONAL_OUTPUT": "IIfConditionalOutputLayer",
    "CONSTANT": "IConstantLayer",
    "CONVOLUTION": "IConvolutionLayer",
    "CUMULATIVE": "ICumulativeLayer",
    "DECONVOLUTION": "IDeconvolutionLayer",
    "DEQUANTIZE": "IDequantizeLayer",
    "DIST_COLLECTIVE": "IDistCollectiveLayer",
    "DYNAMIC_QUANTIZE": "IDynamicQuantizeLayer",
    "EINSUM": "IEinsumLayer",
    "ELEMENTWISE": "IElementWiseLayer",
    "FILL": "IFillLayer",
    "GATHER": "IGatherLayer",
    "GRID_SAMPLE": "IGridSampleLayer",
    "IDENTITY": "IIdentityLayer",
    "ITERATOR": "IIteratorLayer",
    "KV_CACHE_UPDATE": "IKVCacheUpdateLayer",
    "LOOP_OUTPUT": "ILoopOutputLayer",
    "LRN": "ILRNLayer",
    "MATRIX_MULTIPLY": "IMatrixMultiplyLayer",
    "MOE": "IMoELayer",
    "NMS": "INMSLayer",
    "NON_ZERO": "INonZeroLayer",
    "NORMALIZATION": "INormalizationLayer",
    "ONE_HOT": "IOneHotLayer",
    "PADDING": "IPaddingLayer",
    "PARAMETRIC_RELU": "IParametricReLULayer",
    "PLUGIN_V2": "IPluginV2Layer",
    "PLUGIN_V3": "IPluginV3Layer",
    "POOLING": "IPoolingLayer",
    "QUANTIZE": "IQuantizeLayer",
    "RAGGED_SOFTMAX": "IRaggedSoftMaxLayer",
    "RECURRENCE": "IRecurrenceLayer",
    "REDUCE": "IReduceLayer",
    "RESIZE": "IResizeLayer",
    "REVERSE_SEQUENCE": "IReverseSequenceLayer",
    "ROTARY_EMBEDDING": "IRotaryEmbeddingLayer",
    "SCALE": "IScaleLayer",
    "SCATTER": "IScatterLayer",
    "SELECT": "ISelectLayer",
    "SHAPE": "IShapeLayer",
    "SHUFFLE": "IShuffleLayer",
    "SLICE": "ISliceLayer",
    "SOFTMAX": "ISoftMaxLayer",
    "SQUEEZE": "ISqueezeLayer",
    "TOPK": "ITopKLayer",
    "TRIP_LIMIT": "ITripLimitLayer",
    "UNARY": "IUnaryLayer",
    "UNSQUEEZE": "IUnsqueezeLayer",
}

_CONVOLUTION = (
    ("kernel", None),
    ("bias", None),
    ("kernel_size_nd", None),
    ("stride_nd", 1),
    ("pre_padding", 0),
    ("post_padding", 0),
    ("dilation_nd", 1),
    ("num_groups", 1),
    ("padding_mode", "EXPLICIT_ROUND_DOWN"),
)
# What a line of text shows: attributes in this order, each left out when it is unset or has its default. None means
# that it has no default; a default given as one number stands for any dims made of that number.
_SHOWN: dict[str, tuple[tuple[str, Any], ...]] = {
    "ACTIVATION": (("type", None), ("alpha", 0.0), ("beta", 0.0)),
    "ASSERTION": (("message", ""),),
    "CAST": (("to_type", None),),
    "CONCATENATION": (("axis", None),),
    "CONVOLUTION": _CONVOLUTION,
    "CUMULATIVE": (("op", None), ("exclusive", False), ("reverse", False)),
    "DECONVOLUTION": _CONVOLUTION,
    "DEQUANTIZE": (("axis", -1), ("to_type", None)),
    "DYNAMIC_QUANTIZE": (("axis", None), ("block_size", None), ("to_type", None), ("scale_type", None)),
    "EINSUM": (("equation", None),),
    "ELEMENTWISE": (("op", None),),
    "FILL": (("operation", None), ("shape", None), ("alpha", -1.0), ("beta", -1.0)),
    "GATHER": (("mode", None), ("axis", None), ("num_elementwise_dims", 0)),
    "GRID_SAMPLE": (("interpolation_mode", None), ("sample_mode", None), ("align_corners", False)),
    "ITERATOR": (("axis", 0), ("reverse", False)),
    "KV_CACHE_UPDATE": (("cache_mode", None),),
    "LOOP_OUTPUT": (("kind", None), ("axis", 0)),
    "LRN": (("window_size", None), ("alpha", None), ("beta", None), ("k", None)),
    "MATRIX_MULTIPLY": (("op0", "NONE"), ("op1", "NONE")),
    "NMS": (("bounding_box_format", None), ("topk_box_limit", None)),
    "NORMALIZATION": (("axes", None), ("epsilon", None), ("num_groups", 1)),
    "ONE_HOT": (("axis", None),),
    "PADDING": (("pre_padding_nd", None), ("post_padding_nd", None)),
    "POOLING": (
        ("type", None),
        ("window_size_nd", None),
        ("stride_nd", 1),
        ("pre_padding", 0),
        ("post_padding", 0),
        ("padding_mode", "EXPLICIT_ROUND_DOWN"),
        ("average_count_excludes_padding", True),
        ("blend_factor", 0.0),
    ),
    "QUANTIZE": (("axis", -1), ("to_type", None)),
    "REDUCE": (("op", None), ("axes", None), ("keep_dims", False)),
    "RESIZE": (
        ("resize_mode", None),
        ("shape", None),
        ("scales", ()),
        ("coordinate_transformation", None),
        ("nearest_rounding", "HALF_DOWN"),
        ("selector_for_single_pixel", "FORMULA"),
        ("exclude_outside", 0),
        ("cubic_coeff", -0.75),
    ),
    "REVERSE_SEQUENCE": (("batch_axis", None), ("sequence_axis", None)),
    "ROTARY_EMBEDDING": (("interleaved", None), ("rotary_embedding_dim", None)),
    "SCALE": (("mode", None), ("scale", None), ("shift", None), ("power", None), ("channel_axis", None)),
    "SCATTER": (("mode", None), ("axis", None)),
    "SHUFFLE": (
        ("first_transpose", None),
        ("reshape_dims", None),
        ("second_transpose", None),
        ("zero_is_placeholder", True),
    ),
    "SLICE": (
        ("mode", "STRICT_BOUNDS"),
        ("start", None),
        ("shape", None),
        ("stride", None),
        ("axes", None),
    ),
    "SOFTMAX": (("axes", None),),
    "TOPK": (("op", None), ("k", -1), ("axes", None)),
    "TRIP_LIMIT": (("kind", None),),
    "UNARY": (("op", None),),
}
_ATTENTION_SHOWN: tuple[tuple[str, Any], ...] = (
    ("norm_op", None),
    ("causal_kind", "NONE"),
    ("decomposable", False),
    ("query_form", "PADDED_BHND"),
    ("key_value_form", "PADDED_BHND"),
)
_AXES_ARE_BITS = {"NORMALIZATION", "REDUCE", "SOFTMAX", "TOPK"}
_MAX_CONSTANT_VALUES = 8


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer, readable.

    Attributes:
        kind: the name of its `LayerType`; "ATTENTION" for the pair of boundary layers of an `IAttention`.
        name: unique in its network.
        metadata: what the converter wrote, such as "[fx:relu]"; "" if nothing.
        handle: the TensorRT object with its own class (`IConvolutionLayer`, …; `IAttention`).
        inputs: its input `ITensor`s, None where an optional input is unset.
        outputs: its output `ITensor`s.
    """

    kind: str
    name: str
    metadata: str
    handle: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.kind} layer {self.name!r}{' ' + self.metadata if self.metadata else ''}"


def iter_layers(trt: TensorRT, network: Any) -> Iterator[Layer]:
    """Every layer in the order of insertion, which need not be topological.

    The two boundary layers of an `IAttention` come as one, at the place of the second.
    """
    for index in range(network.num_layers):
        plain = network.get_layer(index)
        # IActivationLayer and IPoolingLayer hide ILayer.type behind an attribute of their own.
        kind = trt.module.ILayer.type.__get__(plain).name
        cls = getattr(trt.module, _CLASS_NAMES.get(kind, "ILayer"), None)
        if cls is not None:
            plain.__class__ = cls
        if kind == "ATTENTION_OUTPUT":
            yield _attention(plain)
        elif kind != "ATTENTION_INPUT":
            inputs = tuple(plain.get_input(i) for i in range(plain.num_inputs))
            outputs = tuple(plain.get_output(i) for i in range(plain.num_outputs))
            yield Layer(kind, plain.name, plain.metadata, plain, inputs, outputs)


def _attention(boundary: Any) -> Layer:
    attention = boundary.attention
    inputs = (*(attention.get_input(i) for i in range(3)), attention.mask)
    name = attention.name or boundary.name
    return Layer("ATTENTION", name, attention.metadata, attention, inputs, (boundary.get_output(0),))


def topological(layers: Iterable[Layer]) -> list[Layer]:
    """The layers so that each comes after the producers of its inputs; among equals the order of insertion is kept.

    The value that a loop's RECURRENCE takes from the iteration before is not waited for.

    Raises:
        ValueError: the layers depend on each other in a circle.
    """
    layers = list(layers)
    producer = {tensor.name: index for index, layer in enumerate(layers) for tensor in layer.outputs}
    waiting: list[int] = []
    consumers: list[list[int]] = [[] for _ in layers]
    for index, layer in enumerate(layers):
        inputs = layer.inputs[:1] if layer.kind == "RECURRENCE" else layer.inputs
        sources = {producer[tensor.name] for tensor in inputs if tensor is not None and tensor.name in producer}
        waiting.append(len(sources))
        for source in sources:
            consumers[source].append(index)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    order: list[Layer] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(layers[index])
        for consumer in consumers[index]:
            waiting[consumer] -= 1
            if waiting[consumer] == 0:
                heapq.heappush(ready, consumer)
    if len(order) < len(layers):
        stuck = next(layer for layer, count in zip(layers, waiting, strict=True) if count > 0)
        raise ValueError(f"the network is not a directed acyclic graph: {stuck} waits for its own result")
    return order


def attributes(layer: Layer) -> dict[str, str]:
    """The layer's readable attributes as text, without those at their defaults and those that are inputs."""
    shown = _ATTENTION_SHOWN if layer.kind == "ATTENTION" else _SHOWN.get(layer.kind, ())
    texts: dict[str, str] = {}
    for name, default in shown:
        # Not every release has every attribute.
        value = getattr(layer.handle, name, default)
        if name == "axes" and layer.kind in _AXES_ARE_BITS:
            value = [axis for axis in range(value.bit_length()) if value >> axis & 1]
        text = _attribute_text(value, default)
        if text is not None:
            texts[name] = text
    for owner in ("loop", "conditional"):
        if hasattr(layer.handle, owner):
            texts[owner] = getattr(layer.handle, owner).name
    if layer.kind == "CONSTANT":
        values = _constant_values(layer.handle.weights)
        if values is not None:
            texts["value"] = values
    return texts


def _attribute_text(value: Any, default: Any) -> str | None:
    """An attribute as text; None where it is unset or at its default."""
    plain = _plain(value)
    if plain is None or (default is not None and plain == default):
        return None
    if isinstance(plain, tuple):
        if isinstance(default, int) and all(entry == default for entry in plain):
            return None
        return f"[{','.join(f'{entry:g}' for entry in plain)}]"
    return str(plain) if isinstance(plain, bool | str) else f"{plain:g}"


def _plain(value: Any) -> bool | int | float | str | tuple[float, ...] | None:
    """A binding's value as Python's own: an enum's name, the type and size of weights, a tuple for dims."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "__members__"):
        return str(value.name)
    if hasattr(value, "nbytes"):
        return _weights_text(value)
    if type(value).__name__ == "Permutation":
        return _permutation(list(value))
    return tuple(value) if isinstance(value, list) else dims_or_none(value)


def _permutation(entries: list[int]) -> tuple[int, ...] | None:
    """The meaningful part of a Permutation: of its eight entries those behind the rank are zero or the identity."""
    for rank in range(1, len(entries) + 1):
        rest = entries[rank:]
        if sorted(entries[:rank]) == list(range(rank)) and (not any(rest) or rest == list(range(rank, len(entries)))):
            identity = entries[:rank] == list(range(rank))
            return None if identity else tuple(entries[:rank])
    return tuple(entries)


def _weights_text(weights: Any) -> str | None:
    if weights.size == 0:
        return None
    dtype = weights.dtype
    name = (
        short_name(torch.from_numpy(np.empty(0, dtype)).dtype) if isinstance(dtype, np.dtype) else trt_short_name(dtype)
    )
    return f"{name}[{weights.size}]"


def _constant_values(weights: Any) -> str | None:
    if not isinstance(weights, np.ndarray) or not 0 < weights.size <= _MAX_CONSTANT_VALUES:
        return None
    values = ",".join(f"{value:g}" if weights.dtype.kind == "f" else str(value) for value in weights.ravel())
    return f"[{values}]"


def tensor_text(tensor: Any) -> str:
    """The type of an `ITensor` as text IR writes it: "f32[?,64]", ? for a dynamic dim; "f32[invalid]" if unknown."""
    dims = tensor_shape(tensor)
    shape = "invalid" if dims is None else ",".join("?" if dim < 0 else str(dim) for dim in dims)
    return f"{trt_short_name(tensor.dtype)}[{shape}]"


def describe_layer(layer: Layer, labels: dict[str, str] | None = None) -> str:
    """One line: `%relu_1 = ACTIVATION(RELU)(%conv) : f32[?,64,112,112]  # [fx:relu]`.

    Args:
        layer: what to describe.
        labels: names to print for tensors, by tensor name; a tensor without one is printed under its own.
    """
    labels = labels or {}
    inputs = ", ".join("_" if tensor is None else f"%{labels.get(tensor.name, tensor.name)}" for tensor in layer.inputs)
    texts = attributes(layer)
    operator = next((texts.pop(name) for name in ("op", "type", "operation", "norm_op") if name in texts), None)
    details = ([operator] if operator else []) + [f"{name}={text}" for name, text in texts.items()]
    options = f"({', '.join(details)})" if details else ""
    call = f"{layer.kind}{options}({inputs})"
    if layer.outputs:
        results = ", ".join(f"%{labels.get(tensor.name, tensor.name)}" for tensor in layer.outputs)
        call = f"{results} = {call} : {', '.join(tensor_text(tensor) for tensor in layer.outputs)}"
    return f"{call}  # {layer.metadata}" if layer.metadata else call


def network_text(trt: TensorRT, network: Any) -> str:
    """The whole network, one line per input, layer (in topological order) and output; the same bytes every time."""
    layers = topological(iter_layers(trt, network))
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    labels = _labels(inputs, layers)
    lines = [f"%{labels[tensor.name]} = INPUT : {tensor_text(tensor)}" for tensor in inputs]
    lines += [describe_layer(layer, labels) for layer in layers]
    for tensor in (network.get_output(i) for i in range(network.num_outputs)):
        lines.append(f"OUTPUT {tensor.name} = %{labels.get(tensor.name, tensor.name)} : {tensor_text(tensor)}")
    return "\n".join(lines) + "\n"


def _labels(inputs: Sequence[Any], layers: Sequence[Layer]) -> dict[str, str]:
    """Tensor name -> short unique label: an input's own name; a result's layer name, with ".1" for a second result."""
    labels: dict[str, str] = {}
    taken: set[str] = set()

    def assign(tensor: Any, wanted: str) -> None:
        base = re.sub(r"[^\w.\-/:]+", "_", wanted).strip("_") or "tensor"
        label, count = base, 1
        while label in taken:
            count += 1
            label = f"{base}~{count}"
        taken.add(label)
        labels[tensor.name] = label

    for tensor in inputs:
        assign(tensor, tensor.name)
    for layer in layers:
        for index, tensor in enumerate(layer.outputs):
            assign(tensor, layer.name if index == 0 else f"{layer.name}.{index}")
    return labels
