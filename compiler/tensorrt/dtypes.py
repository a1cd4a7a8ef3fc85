"""Data types as TensorRT names them: torch.float16 is trt.DataType.HALF."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch

from ..ir.dtypes import UnknownDType, short_name

# torch has no 4-bit element types that can be computed with, so INT4 and FP4 have a short name only.
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
}
_TRT_NAME_OF = {dtype: name for name, dtype in _TRT_NAMES.items()}
_TRT_ONLY_SHORT_NAMES = {"INT4": "i4", "FP4": "f4e2m1"}


def is_representable(dtype: torch.dtype) -> bool:
    """Whether TensorRT tensors can have this type: true of every supported release, so TensorRT itself is not asked."""
    return dtype in _TRT_NAME_OF


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
    """The torch type of a `trt.DataType`.

    Raises:
        UnknownDType: torch cannot compute with it (INT4, FP4).
    """
    dtype = _TRT_NAMES.get(data_type.name)
    if dtype is None:
        raise UnknownDType(f"torch has no element type for TensorRT's {data_type.name}")
    return dtype


def trt_short_name(data_type: Any) -> str:
    """The text IR name of a `trt.DataType`, 4-bit types included: HALF is "f16", INT4 is "i4"."""
    name = data_type.name
    return short_name(_TRT_NAMES[name]) if name in _TRT_NAMES else _TRT_ONLY_SHORT_NAMES.get(name, name.lower())


def _supported(module: ModuleType) -> str:
    return ", ".join(short_name(dtype) for name, dtype in _TRT_NAMES.items() if hasattr(module.DataType, name))
