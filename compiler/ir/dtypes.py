"""Data types under the names that text IR and dumps have for them: torch.float16 is "f16"."""

from __future__ import annotations

import torch

INT4: torch.dtype = vars(torch)["int4"]
"""Whole numbers of four bits: torch has the name, and holds them in int8. Its stubs lack it."""

HALVES = frozenset({torch.float16, torch.bfloat16})
"""Floats of 16 bits."""

_SHORT_NAMES: dict[torch.dtype, str] = {
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.float64: "f64",
    INT4: "i4",
    torch.int8: "i8",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.uint8: "u8",
    torch.uint16: "u16",
    torch.uint32: "u32",
    torch.uint64: "u64",
    torch.bool: "bool",
    torch.complex32: "c32",
    torch.complex64: "c64",
    torch.complex128: "c128",
    torch.float8_e4m3fn: "f8e4m3",
    torch.float8_e5m2: "f8e5m2",
    torch.float8_e8m0fnu: "f8e8m0",
    torch.float4_e2m1fn_x2: "f4e2m1x2",
}
_BY_SHORT_NAME = {name: dtype for dtype, name in _SHORT_NAMES.items()}


class UnknownDType(TypeError):
    """A data type that has no counterpart on the other side."""


def short_name(dtype: torch.dtype) -> str:
    """The text IR name: torch.float16 is "f16". A type without one keeps torch's own name ("qint8")."""
    return _SHORT_NAMES.get(dtype) or str(dtype).removeprefix("torch.")


def from_short_name(name: str) -> torch.dtype:
    """The torch type of a text IR name.

    Raises:
        UnknownDType: no type has this name.
    """
    try:
        return _BY_SHORT_NAME[name]
    except KeyError:
        raise UnknownDType(f"unknown data type {name!r}: use one of {', '.join(sorted(_BY_SHORT_NAME))}") from None
