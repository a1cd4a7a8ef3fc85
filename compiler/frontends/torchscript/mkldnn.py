"""Operators that `torch.jit.optimize_for_inference` puts in for CPUs, as those that they stand for.

Weights are then in a format of the CPU's own, and inputs are brought into it and results out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch.nn import functional as F


def _convolution(_: Any, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    return torch.ops.aten.convolution.default(
        x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups
    )


def _between(node: Any, x: torch.Tensor) -> torch.Tensor:
    low, high = (node.f(name) for name in sorted(node.attributeNames(), reverse=True))  # min_val, max_val
    return torch.clamp(x, low, high)


def _layer_norm(_: Any, x: Any, shape: Any, weight: Any, bias: Any, eps: float, *_flags: Any) -> Any:
    return F.layer_norm(x, shape, weight, bias, eps)


_OF_NODES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "aten::to_mkldnn": lambda _, x, *__: x,
        "aten::to_dense": lambda _, x, *__: x.to_dense() if x.layout != torch.strided else x,
        "prim::mkldnn_convolution": _convolution,
        "prim::BroadcastMKLDNNTensors": lambda _, *tensors: torch.ops.aten.broadcast_tensors.default(list(tensors)),
        "prim::MKLDNNHardSigmoid": lambda _, x: F.hardsigmoid(x),
        "prim::MKLDNNHardSwish": lambda _, x: F.hardswish(x),
        "prim::MKLDNNHardTanh": _between,
        "prim::MKLDNNClamp": _between,
        "prim::MKLDNNScalarMul": lambda _, x, factor: x * factor,
        "prim::MKLDNNLayerNorm": _layer_norm,
    }
)


def in_mkldnn(kind: str) -> Callable[..., Any] | None:
    """What computes such an operator from its node and its values, by its kind; None for any other.

    What they write in place is a result of one of them, which nothing else reads.
    """
    return _OF_NODES.get(kind) or (_OF_NODES.get(kind.removesuffix("_")) if "MKLDNN" in kind else None)
