"""Which GPUs have which data types: one table, which verdicts, the converters and the docs read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import torch

from ..ir.dtypes import INT4

FIRST_CAPABILITY: Mapping[torch.dtype, tuple[int, int]] = MappingProxyType(
    {
        torch.bfloat16: (8, 0),
        INT4: (8, 0),
        torch.float8_e4m3fn: (8, 9),
        torch.float8_e8m0fnu: (8, 9),
        torch.float4_e2m1fn_x2: (12, 0),
    }
)
"""The first compute capability with a type, as TensorRT-RTX 1.6 builds for it; whatever is not named all have."""

NAMES: Mapping[torch.dtype, str] = MappingProxyType(
    {
        torch.bfloat16: "bf16",
        INT4: "int4",
        torch.float8_e4m3fn: "fp8",
        torch.float8_e8m0fnu: "e8m0",
        torch.float4_e2m1fn_x2: "fp4",
    }
)
"""The types of the table in the words of whoever quantises."""


def lacking(dtype: torch.dtype, capabilities: Iterable[str]) -> tuple[str, ...]:
    """Those of the compute capabilities, such as "8.0", that do not have a type."""
    first = FIRST_CAPABILITY.get(dtype, (0, 0))
    return tuple(text for text in capabilities if tuple(map(int, text.split("."))) < first)


def refusal(dtype: torch.dtype, capabilities: Iterable[str]) -> str | None:
    """Why engines for some compute capabilities cannot have a type, or None if they can."""
    missing = lacking(dtype, capabilities)
    if not missing:
        return None
    major, minor = FIRST_CAPABILITY[dtype]
    return f"{NAMES[dtype]} needs compute capability {major}.{minor}; compute_capabilities has {', '.join(missing)}"
