"""Data types as TensorRT names them: torch.float16 is trt.DataType.HALF."""

from __future__ import annotations

from types import MappingProxyType, ModuleType
from typing import Any

import torch

from ..ir.dtypes import INT4, UnknownDType, short_name

_TRT_NAMES: dict[str, torch.dtype] = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT8": torch.int8,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "FP8": torch.float8_e4m3fn,
    "E8M0": torch.float8_e8m0fnu,
    "INT4": INT4,
    "FP4": torch.float4_e2m1fn_x2,
}
_TRT_NAME_OF = {dtype: name for name, dtype in _TRT_NAMES.items()}
_OF_FOUR_BITS = MappingProxyType({INT4: "i4", torch.float4_e2m1fn_x2: "f4e2m1"})
"""Types of which torch has the name only, or pairs: networks hold them as weights, and nothing else does."""


def is_representable(dtype: torch.dtype) -> bool:
    """Whether TensorRT tensors can have this type: true of every supported release, so TensorRT itself is not asked."""
    return dtype in _TRT_NAME_OF and dtype not in _OF_FOUR_BITS


def to_trt(module: ModuleType, dtype: torch.dtype) -> Any:
    """The `trt.DataType` of a torch type, taken from the given TensorRT module.

    Raises:
        UnknownDType: TensorRT, or this release of it, has no such type.
    """
    name = _TRT_NAME_OF.get(dtype)
    if name is None or not hasattr(module.DataType, name):
        raise UnknownDType(f"TensorRT has no data type for {dtype}: cast the tensor to one of {_supported(module)}")
    return getattr(module.DataType, name)


def from_trt(data_type: Any) -> torch.dtype:
    """The torch type of a `trt.DataType`; with INT4 and FP4, torch itself computes in `computed_as`.

    Raises:
        UnknownDType: torch has no such type.
    """
    dtype = _TRT_NAMES.get(data_type.name)
    if dtype is None:
        raise UnknownDType(f"torch has no element type for TensorRT's {data_type.name}")
    return dtype


def computed_as(dtype: torch.dtype) -> torch.dtype:
    """The type in which torch holds the numbers of a TensorRT tensor: int8 those of INT4, and float8 those of FP4."""
    return {INT4: torch.int8, torch.float4_e2m1fn_x2: torch.float8_e4m3fn}.get(dtype, dtype)


def trt_short_name(data_type: Any) -> str:
    """The text IR name of a `trt.DataType`, 4-bit types included: HALF is "f16", INT4 is "i4"."""
    dtype = _TRT_NAMES.get(data_type.name)
    if dtype is None:
        return str(data_type.name).lower()
    return _OF_FOUR_BITS.get(dtype) or short_name(dtype)


def _supported(module: ModuleType) -> str:
    names = (name for name, dtype in _TRT_NAMES.items() if hasattr(module.DataType, name) and is_representable(dtype))
    return ", ".join(short_name(_TRT_NAMES[name]) for name in names)
