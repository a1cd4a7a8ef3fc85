"""Where PyTorch's own CPU kernels are less exact than the tolerance, and what is right then.

A result that differs from eager counts as right if it agrees, within the same tolerance, with a way of PyTorch's own
that does not have the defect. Each entry says what the defect is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .samples import Sample, copy_of


def _in_double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


_WAYS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType(
    {
        # Rounds the running sum to half after each matrix.
        "addbmm": _in_double,
        # Computes places and weights in half; the kernels for devices, and the engine, do so in f32.
        "grid_sampler_2d": _in_double,
        "grid_sampler_3d": _in_double,
        "nn.functional.grid_sample": _in_double,
        # Computes x * scale + (-mean * scale), which leaves up to |x| * scale * 2**-24 of a difference that is 0: the
        # scale is 1 / sqrt(eps) = 316 where a channel has one value.
        "native_batch_norm": _in_double,
        "_native_batch_norm_legit": _in_double,
        # Reads a wrong row of a contiguous image whose width, before or between the two directions, is 1.
        "_upsample_bilinear2d_aa": _channels_last,
    }
)


def second_opinion(sample: Sample, tensors: Sequence[torch.Tensor], expected: Any) -> Any:
    """The results that count too, in the dtypes of the expected ones; None if eager's are the only ones."""
    way = _WAYS.get(sample.operator)
    if way is None:
        return None
    with torch.no_grad():
        results = sample.module(*(way(copy_of(tensor)) for tensor in tensors))
    return pytree.tree_map(_in_dtype_of, results, expected)


def _in_dtype_of(value: Any, expected: Any) -> Any:
    return value.to(expected.dtype) if isinstance(value, torch.Tensor) else value
