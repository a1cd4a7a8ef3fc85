"""Quantised tensors of TorchScript: floats that lie on a grid.

What quantises and dequantises is written in the operators of PyTorch's graphs, from which the pipeline makes products
of whole numbers where TensorRT has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from .packed import DECOMPOSED
from .twin import Unconverted

GRIDS = MappingProxyType(
    {
        torch.quint8: (0, 255, torch.uint8),
        torch.qint8: (-128, 127, torch.int8),
        torch.qint32: (-(2**31), 2**31 - 1, torch.int32),
    }
)
"""The smallest and the largest number of a quantised type, and the type of its numbers."""

_LEAST_SCALE = 6.1e-5
"""Of tensors that are quantised at run time: SMALL_SCALE_THRESHOLD in ATen's QuantUtils.h."""


@dataclass(frozen=True, eq=False)
class Quantised:
    """A quantised tensor.

    Attributes:
        real: what its numbers stand for, which lies on the grid.
        scale, zero_point: of the grid.
        dtype: torch.quint8, torch.qint8 or torch.qint32.
    """

    real: torch.Tensor
    scale: float
    zero_point: int
    dtype: torch.dtype

    is_quantized = True

    def on_grid(self, real: torch.Tensor) -> Quantised:
        """Another tensor brought onto the grid of this one."""
        return quantised(real, self.scale, self.zero_point, self.dtype)

    def numbers(self) -> torch.Tensor:
        """The whole numbers."""
        found: torch.Tensor = DECOMPOSED.quantize_per_tensor.default(
            self.real, self.scale, self.zero_point, *GRIDS[self.dtype]
        )
        return found


def quantised(real: torch.Tensor, scale: Any, zero_point: Any, dtype: torch.dtype = torch.quint8) -> Quantised:
    """A tensor brought onto a grid."""
    if not isinstance(scale, float) or not isinstance(zero_point, int):
        raise Unconverted("it quantises with a scale that is not known before the call")
    if dtype not in GRIDS:
        raise Unconverted(f"it quantises to {dtype}")
    grid = (scale, zero_point, *GRIDS[dtype])
    numbers = DECOMPOSED.quantize_per_tensor.default(real, *grid)
    return Quantised(DECOMPOSED.dequantize_per_tensor.default(numbers, *grid), scale, zero_point, dtype)


def quantised_now(real: torch.Tensor, reduce_range: bool) -> torch.Tensor:
    """A tensor brought onto a grid that is chosen for it at run time, in floats."""
    scale, point = DECOMPOSED.choose_qparams.tensor(real, 0, 127 if reduce_range else 255, _LEAST_SCALE, torch.uint8)
    numbers = DECOMPOSED.quantize_per_tensor.tensor(real, scale, point, 0, 255, torch.uint8)
    found: torch.Tensor = DECOMPOSED.dequantize_per_tensor.tensor(numbers, scale, point, 0, 255, torch.uint8)
    return found
