"""What quantising operators of other libraries compute, in the two of our own (see `ir/quantized_operators`).

Each rule has the arguments of the operator that it is registered for, by the operator's name, since a library registers
its operators when it is imported: PyTorch's `quantized_decomposed` and fake quantisation, torchao's, and NVIDIA's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.fx import Graph

from ...compiler.ir.operators import DEQUANTIZE, QUANTIZE
from ...compiler.ir.quantized_operators import RANGES, fake_by_largest
from .quantized_blocks import fake_mx, fake_nvfp4

_RULES: dict[str, Callable[..., Any]] = {}


def quantised_rules(graph: Graph) -> Mapping[Any, Callable[..., Any]]:
    """The rules for the operators that a graph calls."""
    found = {node.target: _RULES.get(str(node.target)) for node in graph.nodes if node.op == "call_function"}
    return {target: rule for target, rule in found.items() if rule is not None}


def is_quantised_operator(target: Any) -> bool:
    """Whether there is a rule for an operator."""
    return str(target) in _RULES


def _rule(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _RULES.update(dict.fromkeys(names, function))
        return function

    return register


def _number(value: float, like: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full((), value, dtype=dtype, device=like.device)


def _zero_point(value: int, like: torch.Tensor) -> torch.Tensor | None:
    return None if value == 0 else _number(value, like, torch.int32)


def _per_channel(scale: torch.Tensor | None, input: torch.Tensor, axis: int) -> torch.Tensor | None:
    """A vector of scales, one per slice of an axis, with the rank of the data."""
    if scale is None or scale.numel() == 1:
        return None if scale is None else scale.reshape(())
    shape: list[Any] = [1] * input.dim()
    shape[axis] = input.shape[axis]
    return scale.reshape(shape)


def _fake(
    input: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor | None, low: int, high: int
) -> torch.Tensor:
    """Quantised and dequantised again."""
    dtype = next((each for each in (torch.int8, torch.uint8) if _within(low, high, each)), torch.int32)
    data = QUANTIZE(input, scale.float(), zero_point, low, high, dtype)
    result: torch.Tensor = DEQUANTIZE(data, scale.float(), zero_point, input.dtype)
    return result


def _within(low: int, high: int, dtype: torch.dtype) -> bool:
    return RANGES[dtype][0] <= low and high <= RANGES[dtype][1]


# --- PyTorch: quantized_decomposed ------------------------------------------------------------------------------------
@_rule("quantized_decomposed.quantize_per_tensor.default")
def _quantize_per_tensor(
    input: torch.Tensor, scale: float, zero_point: int, quant_min: int, quant_max: int, dtype: torch.dtype
) -> Any:
    return _quantized(input, _number(scale, input), _zero_point(zero_point, input), quant_min, quant_max, dtype)


@_rule("quantized_decomposed.quantize_per_tensor.tensor")
def _quantize_per_tensor_tensor(
    input: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
) -> Any:
    return _quantized(input, scale.reshape(()), zero_point.reshape(()), quant_min, quant_max, dtype)


@_rule("quantized_decomposed.dequantize_per_tensor.default")
def _dequantize_per_tensor(
    input: torch.Tensor,
    scale: float,
    zero_point: int,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    *,
    out_dtype: torch.dtype | None = None,
) -> Any:
    return DEQUANTIZE(input, _number(scale, input), _zero_point(zero_point, input), out_dtype or torch.float32)


@_rule("quantized_decomposed.dequantize_per_tensor.tensor")
def _dequantize_per_tensor_tensor(
    input: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    *,
    out_dtype: torch.dtype | None = None,
) -> Any:
    return DEQUANTIZE(input, scale.float().reshape(()), zero_point.reshape(()), out_dtype or torch.float32)


@_rule("quantized_decomposed.quantize_per_channel.default")
def _quantize_per_channel(
    input: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor,
    axis: int,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
) -> Any:
    scale, zero_point = _per_channel(scales, input, axis), _per_channel(zero_points, input, axis)
    return _quantized(input, scale, zero_point, quant_min, quant_max, dtype)


@_rule("quantized_decomposed.dequantize_per_channel.default")
def _dequantize_per_channel(
    input: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor | None,
    axis: int,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    *,
    out_dtype: torch.dtype | None = None,
) -> Any:
    scale, zero_point = _per_channel(scales.float(), input, axis), _per_channel(zero_points, input, axis)
    return DEQUANTIZE(input, scale, zero_point, out_dtype or torch.float32)


@_rule("quantized_decomposed.quantize_per_token.default")
def _quantize_per_token(
    input: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
) -> Any:
    shape = (*input.shape[:-1], 1)
    return _quantized(input, scales.reshape(shape), zero_points.reshape(shape), quant_min, quant_max, dtype)


@_rule("quantized_decomposed.dequantize_per_token.default")
def _dequantize_per_token(
    input: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    output_dtype: torch.dtype,
) -> Any:
    shape = (*input.shape[:-1], 1)
    return DEQUANTIZE(input, scales.float().reshape(shape), zero_points.reshape(shape), output_dtype)


@_rule("quantized_decomposed.quantize_per_channel_group.default")
def _quantize_per_channel_group(
    input: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    group_size: int,
) -> Any:
    shape = (input.shape[0], input.shape[1] // group_size)
    return _quantized(input, scales.reshape(shape), zero_points.reshape(shape), quant_min, quant_max, dtype)


@_rule("quantized_decomposed.dequantize_per_channel_group.default")
def _dequantize_per_channel_group(
    input: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor | None,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    group_size: int,
    output_dtype: torch.dtype,
) -> Any:
    shape = (input.shape[0], input.shape[1] // group_size)
    zero_point = None if zero_points is None else zero_points.reshape(shape)
    return DEQUANTIZE(input, scales.float().reshape(shape), zero_point, output_dtype)


def _quantized(
    input: torch.Tensor, scale: Any, zero_point: torch.Tensor | None, low: int, high: int, dtype: torch.dtype
) -> Any:
    return QUANTIZE(input, scale.float(), zero_point, low, high, dtype)


@_rule("quantized_decomposed.choose_qparams.tensor")
def _choose_qparams(input: torch.Tensor, qmin: int, qmax: int, eps: float, dtype: torch.dtype) -> Any:
    low, high = input.amin().float().clamp(max=0), input.amax().float().clamp(min=0)
    scale = ((high - low) / float(qmax - qmin)).clamp(min=eps)
    zero_point = (qmin - torch.round(low / scale)).clamp(qmin, qmax)
    return scale.reshape(1).double(), zero_point.reshape(1).long()


@_rule("quantized_decomposed.choose_qparams_symmetric.tensor")
def _choose_qparams_symmetric(input: torch.Tensor, qmin: int, qmax: int, eps: float, dtype: torch.dtype) -> Any:
    scale = (input.abs().amax().float() / ((qmax - qmin) / 2)).clamp(min=eps).reshape(1)
    zero = 128 if dtype == torch.uint8 else 0
    return scale.double(), torch.full((1,), zero, dtype=torch.int64, device=input.device)


@_rule("quantized_decomposed.choose_qparams_per_token.default")
def _choose_qparams_per_token(input: torch.Tensor, dtype: torch.dtype) -> Any:
    scale = input.abs().amax(dim=-1, keepdim=True)
    scale = (scale.float() if scale.dtype == torch.float16 else scale).clamp(min=1e-5) / 127
    # Of the types that PyTorch says they have when it traces.
    return scale.double(), torch.zeros_like(scale, dtype=torch.int64)


@_rule("quantized_decomposed.choose_qparams_per_token_asymmetric.default")
def _choose_qparams_per_token_asymmetric(input: torch.Tensor, dtype: torch.dtype) -> Any:
    low = input.amin(dim=-1, keepdim=True).float().clamp(max=0)
    high = input.amax(dim=-1, keepdim=True).float().clamp(min=0)
    scale = ((high - low) / 255).clamp(min=torch.finfo(torch.float32).eps)
    from_low, from_high = low / scale, high / scale
    zero_point = torch.where(from_low + from_high - 1 > 0, -128 - from_low, 127 - from_high)
    return scale.double(), zero_point.clamp(-128, 127).round().long()


@_rule("quantized_decomposed.fake_quant_per_channel.default")
def _fake_quant_per_channel(
    input: torch.Tensor, scales: torch.Tensor, zero_points: torch.Tensor, axis: int, quant_min: int, quant_max: int
) -> Any:
    return _fake_per_channel(input, scales, zero_points, axis, quant_min, quant_max)


@_rule("quantized_decomposed.convert_element_type.no_fuse")
def _convert_element_type(input: torch.Tensor, dtype: torch.dtype) -> Any:
    return input.to(dtype)


# --- PyTorch: fake quantisation ---------------------------------------------------------------------------------------
@_rule("aten.fake_quantize_per_tensor_affine.default")
def _fake_per_tensor(input: torch.Tensor, scale: float, zero_point: int, quant_min: int, quant_max: int) -> Any:
    return _fake(input, _number(scale, input), _zero_point(zero_point, input), quant_min, quant_max)


@_rule("aten.fake_quantize_per_tensor_affine.tensor_qparams")
def _fake_per_tensor_of_tensors(
    input: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, quant_min: int, quant_max: int
) -> Any:
    return _fake(input, scale.reshape(()), zero_point.reshape(()), quant_min, quant_max)


@_rule("aten.fake_quantize_per_tensor_affine_cachemask.default")
def _fake_per_tensor_with_mask(
    input: torch.Tensor, scale: float, zero_point: int, quant_min: int, quant_max: int
) -> Any:
    steps = _number(scale, input)
    shift = _zero_point(zero_point, input)
    return _fake(input, steps, shift, quant_min, quant_max), _mask(input, steps, shift, quant_min, quant_max)


@_rule("aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams.default")
def _fake_per_tensor_with_mask_of_tensors(
    input: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor,
    fake_quant_enabled: torch.Tensor,
    quant_min: int,
    quant_max: int,
) -> Any:
    steps, shift = scale.reshape(()), zero_point.reshape(())
    enabled = fake_quant_enabled.reshape(()) != 0
    result = torch.where(enabled, _fake(input, steps, shift, quant_min, quant_max), input)
    return result, _mask(input, steps, shift, quant_min, quant_max) | ~enabled


@_rule("aten.fake_quantize_per_channel_affine.default")
def _fake_per_channel(
    input: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, axis: int, quant_min: int, quant_max: int
) -> Any:
    steps, shift = _per_channel(scale, input, axis), _per_channel(zero_point, input, axis)
    assert steps is not None
    return _fake(input, steps, shift, quant_min, quant_max)


@_rule("aten.fake_quantize_per_channel_affine_cachemask.default")
def _fake_per_channel_with_mask(
    input: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, axis: int, quant_min: int, quant_max: int
) -> Any:
    steps, shift = _per_channel(scale, input, axis), _per_channel(zero_point, input, axis)
    assert steps is not None
    return _fake(input, steps, shift, quant_min, quant_max), _mask(input, steps, shift, quant_min, quant_max)


@_rule("aten._fake_quantize_learnable_per_tensor_affine.default")
def _fake_learnable_per_tensor(
    input: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor,
    quant_min: int,
    quant_max: int,
    grad_factor: float = 1.0,
) -> Any:
    shift = _learned(zero_point, quant_min, quant_max).reshape(())
    return _fake(input, scale.reshape(()), shift, quant_min, quant_max)


@_rule("aten._fake_quantize_learnable_per_channel_affine.default")
def _fake_learnable_per_channel(
    input: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor,
    axis: int,
    quant_min: int,
    quant_max: int,
    grad_factor: float = 1.0,
) -> Any:
    steps = _per_channel(scale, input, axis)
    shift = _per_channel(_learned(zero_point, quant_min, quant_max), input, axis)
    assert steps is not None
    return _fake(input, steps, shift, quant_min, quant_max)


def _learned(zero_point: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """A zero point that was trained, which is no whole number."""
    return zero_point.float().round().clamp(low, high)


def _mask(input: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor | None, low: int, high: int) -> Any:
    """Where nothing was clamped."""
    rounded = (input.float() / scale.float()).round()
    if zero_point is not None:
        rounded = rounded + zero_point
    return (rounded >= low) & (rounded <= high)


# --- PyTorch: products ------------------------------------------------------------------------------------------------
@_rule("aten._int_mm.default")
def _int_mm(self: torch.Tensor, mat2: torch.Tensor) -> Any:
    if self.dtype != torch.int8 or mat2.dtype != torch.int8:
        return NotImplemented
    one = _number(1.0, self)
    product = DEQUANTIZE(self, one, None, torch.float32) @ DEQUANTIZE(mat2, one, None, torch.float32)
    return product.to(torch.int32)


@_rule("aten._scaled_mm.default")
def _scaled_mm(
    self: torch.Tensor,
    mat2: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    bias: torch.Tensor | None = None,
    scale_result: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    use_fast_accum: bool = False,
) -> Any:
    plain = (torch.float8_e4m3fn, torch.float8_e4m3fn)
    if (self.dtype, mat2.dtype) != plain or out_dtype is None or out_dtype.itemsize < 2 or scale_result is not None:
        return NotImplemented
    left = DEQUANTIZE(self, _scale_of(scale_a, self), None, torch.float32)
    right = DEQUANTIZE(mat2, _scale_of(scale_b, mat2), None, torch.float32)
    product = left @ right
    return (product if bias is None else product + bias.float()).to(out_dtype)


@_rule("aten._weight_int8pack_mm.default")
def _weight_int8pack_mm(self: torch.Tensor, mat2: torch.Tensor, scales: torch.Tensor) -> Any:
    weight = DEQUANTIZE(mat2, scales.float().reshape(-1, 1), None, self.dtype)
    return torch.nn.functional.linear(self, weight)


def _scale_of(scale: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    return scale.float().reshape(()) if scale.numel() == 1 else scale.float().reshape(_blocks(scale, data))


def _blocks(scale: torch.Tensor, data: torch.Tensor) -> Sequence[int]:
    if scale.dim() == data.dim():
        return scale.shape
    return [*scale.shape, *[1] * (data.dim() - scale.dim())]


# --- torchao ----------------------------------------------------------------------------------------------------------
@_rule("torchao.quantize_affine.default")
def _quantize_affine(
    input: torch.Tensor,
    block_size: Sequence[int],
    scale: torch.Tensor,
    zero_point: torch.Tensor | None,
    output_dtype: torch.dtype,
    quant_min: int | None = None,
    quant_max: int | None = None,
) -> Any:
    limits = _limits(output_dtype, quant_min, quant_max)
    if limits is None:
        return NotImplemented
    shape = _sizes_in_blocks(input, block_size)
    shift = None if zero_point is None or zero_point.numel() == 0 else zero_point.reshape(shape)
    return QUANTIZE(input, scale.float().reshape(shape), shift, *limits, output_dtype)


@_rule("torchao.dequantize_affine.default")
def _dequantize_affine(
    input: torch.Tensor,
    block_size: Sequence[int],
    scale: torch.Tensor,
    zero_point: torch.Tensor | None,
    input_dtype: torch.dtype,
    quant_min: int | None = None,
    quant_max: int | None = None,
    output_dtype: torch.dtype = torch.float32,
) -> Any:
    shape = _sizes_in_blocks(input, block_size)
    shift = None if zero_point is None or zero_point.numel() == 0 else zero_point.reshape(shape)
    return DEQUANTIZE(input, scale.float().reshape(shape), shift, output_dtype)


def _limits(dtype: torch.dtype, low: float | None, high: float | None) -> tuple[int, int] | None:
    """The range of whole numbers, by default that of the type; None for types of fewer than eight bits."""
    if dtype.is_floating_point or dtype not in (*RANGES, torch.int16, torch.int32):
        return None
    info = torch.iinfo(dtype)
    return (info.min if low is None else int(low)), (info.max if high is None else int(high))


def _sizes_in_blocks(input: torch.Tensor, block_size: Sequence[int]) -> list[Any]:
    sizes = zip(input.shape, block_size, strict=True)
    return [1 if isinstance(block, int) and block == -1 else size // block for size, block in sizes]


@_rule("torchao.quantize_affine_float8_non_decomposed.default", "torchao.quantize_affine_float8.default")
def _quantize_affine_float8(
    tensor: torch.Tensor, scale: torch.Tensor, float8_dtype: torch.dtype = torch.float8_e4m3fn
) -> Any:
    if float8_dtype != torch.float8_e4m3fn:
        return NotImplemented
    return QUANTIZE(tensor, _scale_of(scale, tensor), None, -448, 448, float8_dtype)


@_rule("torchao.dequantize_affine_float8_non_decomposed.default", "torchao.dequantize_affine_float8.default")
def _dequantize_affine_float8(
    tensor: torch.Tensor, scale: torch.Tensor, output_dtype: torch.dtype = torch.float32
) -> Any:
    if tensor.dtype != torch.float8_e4m3fn:
        return NotImplemented
    return DEQUANTIZE(tensor, _scale_of(scale, tensor), None, output_dtype)


# --- NVIDIA's modelopt ------------------------------------------------------------------------------------------------
@_rule("tensorrt.quantize_op.default")
def _quantize_op(
    input: torch.Tensor, amax: torch.Tensor, num_bits: int, exponent_bits: int, unsigned: bool, narrow_range: bool
) -> Any:
    if (num_bits, exponent_bits) != (8, 4) and (exponent_bits or num_bits > 8):
        return NotImplemented
    return fake_by_largest(input, amax, None if exponent_bits else num_bits, unsigned, narrow_range)


@_rule("tensorrt.dynamic_block_quantize_op.default", "tensorrt.dynamic_block_quantize_op.overload")
def _dynamic_block_quantize_op(
    input: torch.Tensor,
    block_size: int,
    amax: torch.Tensor | None,
    num_bits: int,
    exponent_bits: int,
    scale_num_bits: int,
    scale_exponent_bits: int,
) -> Any:
    width, form = input.shape[-1], (num_bits, exponent_bits, scale_num_bits, scale_exponent_bits)
    if not isinstance(width, int) or width % block_size:
        return NotImplemented
    if form == (4, 2, 8, 4) and amax is not None:
        return fake_nvfp4(input, block_size, amax)
    if (scale_num_bits, scale_exponent_bits) == (9, 8) and (num_bits, exponent_bits) in _MX:
        return fake_mx(input, block_size, num_bits, exponent_bits)
    return NotImplemented


_MX = frozenset({(8, 4), (6, 3), (6, 2), (4, 2), (8, 0)})
"""Bits, and bits of the exponent, of MXFP8, MXFP6 in both forms, MXFP4 and MXINT8."""
