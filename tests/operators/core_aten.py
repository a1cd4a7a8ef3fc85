"""The operators that torch tags `core`, and why some of them are neither converted nor decomposed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType

import torch

REFUSALS: Mapping[str, str] = MappingProxyType(
    {
        "aten.rand": "It draws random numbers, which an engine would repeat in every call.",
        "aten.randn": "It draws random numbers, which an engine would repeat in every call.",
        "aten.randperm": "It draws random numbers, which an engine would repeat in every call.",
        "aten.native_dropout": "In training it draws random numbers; in eval mode exporters drop it.",
        "aten._local_scalar_dense": "Its result is a Python number, and only tensors can leave an engine.",
        "aten._fft_r2c": "Its result is complex, which TensorRT has not; lower.complex makes products of it.",
        "aten._fft_c2r": "Its input is complex, which TensorRT has not; lower.complex makes products of it.",
        "aten.resize_": "It changes the size of its input in place.",
        "aten.atan2.out": "It writes to a tensor that the caller gives; export replaces it by aten.atan2.",
        "aten._native_batch_norm_legit": "In training it writes to the running statistics of the layer.",
    }
)
"""Core operators for inference that TensorRT truly cannot take, each with the reason in a sentence."""


@functools.cache
def core_operators() -> tuple[torch._ops.OpOverload, ...]:
    """Every overload that torch tags `core`, without those that compute gradients, by name."""
    found = []
    for full in sorted(torch._C._dispatch_get_all_op_names()):
        namespace, _, rest = full.partition("::")
        name, _, overload = rest.partition(".")
        if namespace == "aten" and "_backward" not in name:
            target = getattr(getattr(torch.ops.aten, name), overload or "default")
            if torch.Tag.core in target.tags:
                found.append(target)
    return tuple(found)
