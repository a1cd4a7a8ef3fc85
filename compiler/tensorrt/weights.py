"""Constant tensors as TensorRT weights, without a copy wherever their layout allows."""

from __future__ import annotations

from typing import Any

import torch

from ..ir.dtypes import short_name
from .dtypes import to_trt
from .loader import TensorRT

_NUMPY_DTYPES = frozenset({torch.float32, torch.float16, torch.int32, torch.int64, torch.bool})


def storable(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in a form whose memory TensorRT can read: on the CPU, contiguous, of a type that numpy has.

    bfloat16 becomes float32, because TensorRT could not give bf16 weights back, and the 8-bit integers, of which
    TensorRT has no constants, become int32; the caller casts them back in the network.

    Raises:
        TypeError: TensorRT has no constants of the type.
    """
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    if tensor.dtype in (torch.int8, torch.uint8):
        tensor = tensor.int()
    if tensor.dtype not in _NUMPY_DTYPES:
        raise TypeError(f"TensorRT has no {short_name(tensor.dtype)} constants: cast the constant in the model")
    return tensor.cpu().contiguous()


def as_weights(library: TensorRT, tensor: torch.Tensor) -> Any:
    """What TensorRT takes as weights: a numpy view of a `storable` tensor (which must stay alive), or empty weights."""
    if tensor.numel() == 0:
        return library.module.Weights(to_trt(library.module, tensor.dtype))
    return tensor.numpy()
