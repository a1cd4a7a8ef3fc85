"""Weights of torchao whose layout only a kernel of another library, or of another device, can read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import nn

from ..errors import UserError

_KERNELS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Int4Tensor": ("mslk", "bf16i4bf16_rowwise"),
        "Int4PreshuffledTensor": ("mslk", "bf16i4bf16_shuffled"),
    }
)
"""The namespace of operators, and the one of them, that a weight's class multiplies with."""

_DEVICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"Int4PlainInt32Tensor": ("xpu", "npu"), "Int4TilePackedTo4dTensor": ("cuda",), "IntxOpaqueTensor": ()}
)
"""The devices that can multiply with a weight's class, of those that PyTorch calls so."""


def check_weights(model: nn.Module) -> None:
    """Refuse weights that nothing here can read, by their names.

    Raises:
        UserError: a weight's class has no kernel here, so that the model does not run in eager mode either.
    """
    for name, weight in model.named_parameters():
        kind = type(weight)
        if kind.__module__.startswith("torchao."):
            reason = _unreadable(kind.__name__, weight)
            if reason:
                raise UserError(
                    f"{name} is torchao's {kind.__name__}, {reason}: quantise with "
                    "IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(128)), which any device reads."
                )


def _unreadable(kind: str, weight: torch.Tensor) -> str:
    """Why nothing here multiplies with a weight; "" if something does."""
    if kind in _KERNELS:
        library, kernel = _KERNELS[kind]
        if hasattr(getattr(torch.ops, library), kernel):
            return ""
        return f"which only {library}.{kernel} can read, and {library} is not installed"
    devices = _DEVICES.get(kind)
    if devices is None or weight.device.type in devices:
        return ""
    if not devices:
        return "which is packed for one processor's kernels"
    return f"which only kernels for {' and '.join(devices)} can read, and it is on {weight.device.type}"
