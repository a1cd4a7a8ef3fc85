"""Linear layers of transformers in float8 whose kernels are another library's: fbgemm's rows, and blocks of both sides.

They compute what their kernels do, in operators that say so; the kernels themselves need a GPU, and libraries that few
have.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..ir.operators import DEQUANTIZE, QUANTIZE

_LARGEST = 448.0
_SMALLEST = 1e-12
"""The least magnitude of a row that is quantised."""

_FBGEMM, _BLOCKS = "FbgemmFp8Linear", "FP8Linear"


def is_float8_layer(module: nn.Module) -> bool:
    """Whether a module is such a layer with a weight in float8_e4m3fn, and quantises its inputs when it is called."""
    kinds = {kind.__name__ for kind in type(module).__mro__ if kind.__module__.startswith("transformers.integrations.")}
    # Other classes compute their weight when it is asked for.
    if not kinds & {_FBGEMM, _BLOCKS}:
        return False
    weight: Any = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor):
        return False
    if weight.dtype != torch.float8_e4m3fn or weight.dim() != 2:
        return False
    if _BLOCKS in kinds:
        # A power of two as scale is rounded in a way of its own.
        plain = getattr(module, "scale_fmt", "float") == "float"
        return plain and getattr(module, "activation_scheme", None) == "dynamic" and _divides(module)
    return True


def _divides(module: Any) -> bool:
    block = getattr(module, "block_size", None)
    rows, columns = module.weight.shape
    return block is not None and rows % block[0] == 0 and columns % block[1] == 0


class Float8Layer:
    """What such a layer computes: x[..., in] -> [..., out], of the type of x."""

    def __init__(self, module: nn.Module) -> None:
        self._module: Any = module

    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        module = self._module
        in_blocks = hasattr(module, "weight_scale_inv")
        scale = module.weight_scale_inv if in_blocks else module.weight_scale.reshape(-1, 1)
        largest = input.float()
        if in_blocks:
            largest = largest.reshape(*input.shape[:-1], -1, module.block_size[1]).abs().amax(-1)
        else:
            largest = largest.abs().amax(-1, keepdim=True)
            limit = getattr(module, "input_scale_ub", None)
            largest = largest if limit is None else torch.minimum(largest, limit.float().reshape(()))
        step = largest.clamp(min=_SMALLEST) / _LARGEST
        data = QUANTIZE(input, step, None, -448, 448, torch.float8_e4m3fn)
        x = DEQUANTIZE(data, step, None, input.dtype)
        weight = DEQUANTIZE(module.weight, scale.float(), None, input.dtype)
        bias = None if module.bias is None else module.bias.to(input.dtype)
        result: torch.Tensor = nn.functional.linear(x, weight, bias)
        return result
