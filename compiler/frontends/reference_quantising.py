"""Reference modules of PyTorch (`torch.ao.nn.quantized.reference`, `convert_to_reference_fx`) for torch.export.

They make tensors of quantised types and dequantise them at once; torch.export has no such tensors. While they are
traced, what quantises gives floats that lie on the grid, and `dequantize` of floats is the same floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode

_REFERENCE = "torch.ao.nn.quantized.reference"

_STORED: Mapping[torch.dtype, torch.dtype] = MappingProxyType(
    {torch.qint8: torch.int8, torch.quint8: torch.uint8, torch.qint32: torch.int32}
)
_EPSILON = torch.finfo(torch.float32).eps


def quantises_by_reference(modules: Iterable[nn.Module]) -> bool:
    """Whether modules make tensors of quantised types, as PyTorch's reference modules do."""
    return any(type(module).__module__.startswith(_REFERENCE) or _calls_them(module) for module in modules)


def _calls_them(module: nn.Module) -> bool:
    return isinstance(module, GraphModule) and any(node.target in _RULES for node in module.graph.nodes)


class FloatsOnGrids(TorchFunctionMode):
    """While entered, functions that give tensors of quantised types give what those dequantise to."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function, or what stands for it."""
        rule: Any = _RULES.get(func, func)
        return rule(*args, **(kwargs or {}))


def _per_tensor(input: torch.Tensor, scale: Any, zero_point: Any, dtype: torch.dtype) -> torch.Tensor:
    stored, low, high = _grid(dtype)
    # One form for numbers and tensors.
    steps = torch.as_tensor(scale, dtype=torch.float32).reshape(())
    shift = torch.as_tensor(zero_point, dtype=torch.int64).reshape(())
    ops = _decomposed()
    data = ops.quantize_per_tensor.tensor(input, steps, shift, low, high, stored)
    result: torch.Tensor = ops.dequantize_per_tensor.tensor(data, steps, shift, low, high, stored)
    return result


def _per_channel(
    input: torch.Tensor, scales: torch.Tensor, zero_points: torch.Tensor, axis: int, dtype: torch.dtype
) -> torch.Tensor:
    stored, low, high = _grid(dtype)
    ops, grid = _decomposed(), (axis, low, high, stored)
    data = ops.quantize_per_channel.default(input, scales.float(), zero_points.long(), *grid)
    result: torch.Tensor = ops.dequantize_per_channel.default(data, scales.float(), zero_points.long(), *grid)
    return result


def _dynamic(input: torch.Tensor, dtype: torch.dtype, reduce_range: bool) -> torch.Tensor:
    stored, low, high = _grid(dtype)
    limits = (low // 2, high // 2) if reduce_range else (low, high)
    choose = _decomposed().choose_qparams.tensor
    scale, zero_point = choose(input, *limits, _EPSILON, stored)
    return _per_tensor(input, scale, zero_point, dtype)


def _same(input: torch.Tensor) -> torch.Tensor:
    return input.dequantize() if input.is_quantized else input


def _decomposed() -> Any:
    """Operators of whole numbers in plain types, which are registered when this is imported."""
    from torch.ao.quantization.fx import _decomposed  # noqa: F401

    return torch.ops.quantized_decomposed


def _grid(dtype: torch.dtype) -> tuple[torch.dtype, int, int]:
    """The type that whole numbers are stored in, and their range."""
    info = torch.iinfo(_STORED[dtype])
    return _STORED[dtype], info.min, info.max


_RULES: Mapping[Any, Callable[..., torch.Tensor]] = MappingProxyType(
    {
        torch.quantize_per_tensor: _per_tensor,
        torch.quantize_per_channel: _per_channel,
        torch.quantize_per_tensor_dynamic: _dynamic,
        torch.dequantize: _same,
        torch.Tensor.dequantize: _same,
    }
)
