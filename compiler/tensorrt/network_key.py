"""The key of a network in the engine cache: everything that can be read back of it, hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from ..ir.dtypes import short_name
from ..ir.engine_spec import Binding
from ..ir.network import Network
from ..settings import Settings
from .layers import Layer, iter_layers, topological
from .loader import TensorRT, dims_or_none, tensor_shape

FORMAT = 1
"""Grows when the key, or what is stored under it, changes its meaning."""

_SETTINGS = (
    "disable_tf32",
    "workspace_size",
    "optimization_level",
    "compute_capabilities",
    "enable_weight_streaming",
)
"""The settings that the builder reads."""


def network_key(network: Network, settings: Settings, target: str) -> str | None:
    """The SHA-256 of a network and of all else that decides which engine TensorRT builds from it, as hex digits.

    Covered are every attribute, weight, edge, data type and shape of every layer, the bindings with their ranges, the
    settings that the builder reads, and the TensorRT release. Names are covered too, because the records of an engine
    name the layers that its kernels were made of.

    Args:
        network: what `convert` made.
        settings: the options of the compilation.
        target: the GPU that is built for, where that is the GPU of this machine; else "".

    Returns:
        The key, or None if a weight cannot be read back.
    """
    said = len(network.log.records)
    try:
        digest = hashlib.sha256()
        for row in _rows(network, settings, target):
            digest.update(json.dumps(row, sort_keys=True, separators=(",", ":")).encode())
            digest.update(b"\n")
        return digest.hexdigest()
    except _Unreadable:
        return None
    finally:
        # Reading an attribute that is unset can make TensorRT log an error, which is none.
        del network.log.records[said:]


class _Unreadable(Exception):
    """A weight whose bytes TensorRT does not give back."""


def _rows(network: Network, settings: Settings, target: str) -> Iterable[Any]:
    options = settings.to_json()
    options["disable_tf32"] = options["disable_tf32"] or network.exact
    yield [FORMAT, network.trt.flavor, network.trt.version, target, {name: options[name] for name in _SETTINGS}]
    yield [[_binding(item) for item in side] for side in (network.inputs, network.outputs)]
    definition = network.network
    yield [_tensor(definition.get_input(index)) for index in range(definition.num_inputs)]
    yield [_tensor(definition.get_output(index)) for index in range(definition.num_outputs)]
    for layer in topological(iter_layers(network.trt, definition)):
        yield _layer(network, layer)


def _binding(binding: Binding) -> list[Any]:
    return [binding.to_json(), binding.min_shape, binding.opt_shape, binding.max_shape]


def _tensor(tensor: Any) -> Any:
    if tensor is None:
        return None
    return [tensor.name, tensor.dtype.name, tensor_shape(tensor), int(tensor.allowed_formats)]


def _layer(network: Network, layer: Layer) -> list[Any]:
    edges = [[_tensor(tensor) for tensor in side] for side in (layer.inputs, layer.outputs)]
    values = network.unreadable.get(layer.name)
    attributes = _attributes(network.trt, layer.handle) if values is None else {"weights": _content(values)}
    return [layer.kind, layer.name, layer.metadata, edges, attributes]


def _content(values: torch.Tensor) -> list[Any]:
    data = values.contiguous().view(torch.uint8).numpy()
    return [short_name(values.dtype), list(values.shape), hashlib.sha256(data.data).hexdigest()]


def _attributes(trt: TensorRT, handle: Any) -> Mapping[str, Any]:
    """Every attribute that the layer's class has, so that one which is added to TensorRT later is covered too."""
    found = {}
    for name in dir(type(handle)):
        if name.startswith("_") or callable(getattr(type(handle), name)):
            continue
        try:
            value = getattr(handle, name)
        except RuntimeError:
            # What is unset and has no default cannot be read.
            value = None
        found[name] = _plain(trt, value)
    return found


def _plain(trt: TensorRT, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "__members__"):
        return value.name
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()]
    if isinstance(value, trt.module.Weights):
        if value.size:
            raise _Unreadable
        return [value.dtype.name, 0]
    if isinstance(value, trt.module.ITensor):
        return value.name
    if isinstance(value, list | tuple | trt.module.Permutation):
        return [_plain(trt, item) for item in value]
    if hasattr(value, "name"):
        # A loop, a conditional or an attention: its other layers have the same.
        return [type(value).__name__, value.name]
    return dims_or_none(value)
