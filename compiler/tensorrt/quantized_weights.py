"""Weights that a network stores quantised, and the layer that dequantises them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ..ir.dtypes import HALVES, INT4
from ..ir.memory import view_key
from ..ir.packed_numbers import unpack_four_bits
from .tensor import DeferredTensor, Tensor

if TYPE_CHECKING:
    from .context import ConverterContext


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """What a dequantised weight is made of; it becomes layers when it is first used, of the rank that is asked for.

    Attributes:
        name: of the node that dequantises it.
        stored: the name of what holds its numbers.
        values: int8, float8_e4m3fn, or uint8 that hold two numbers of four bits each.
        scale: float32, of the same rank: each size is 1, that of the numbers, or divides it.
        kind: the type of the numbers in the network: int8, float8_e4m3fn or int4.
        dtype: of the dequantised weight.
    """

    name: str
    stored: str
    values: torch.Tensor
    scale: torch.Tensor
    kind: torch.dtype
    dtype: torch.dtype

    def deferred(self, ctx: ConverterContext) -> DeferredTensor:
        """The weight as a tensor that is made when it is used."""
        key = ("dequantized", view_key(self.values), view_key(self.scale), self.kind, self.dtype)
        return DeferredTensor(self.name, self.values.dim(), key, partial(self._layers, ctx))

    def _layers(self, ctx: ConverterContext, rank: int) -> Tensor:
        """Add the constants and the layer that dequantises them, with dimensions of size 1 in front up to `rank`."""
        ones = (None,) * (rank - self.values.dim())
        values = (unpack_four_bits(self.values) if self.values.dtype == torch.uint8 else self.values)[ones]
        data = quantized_constant(ctx, values, self.kind, self.stored)
        # TensorRT takes scales of four bits in the type of the result only.
        narrow = self.kind == INT4 and self.dtype in HALVES and fits_scales(self.scale, self.dtype)
        dtype = self.dtype if self.kind != INT4 or narrow or self.dtype not in HALVES else torch.float32
        scale = self.scale.to(dtype) if narrow else self.scale.float()
        result = dequantized(ctx, data, scale[ones], dtype, "" if dtype == self.dtype else "float32")
        if dtype != self.dtype:
            cast = ctx.network.add_cast(result.trt, ctx.data_type(self.dtype))
            result = ctx.emit(cast, result.shape)
        return result


def quantized_constant(ctx: ConverterContext, values: torch.Tensor, kind: torch.dtype, name: str) -> Tensor:
    """A constant of whole numbers, or float8; TensorRT takes it in front of a layer that dequantises only."""
    role = f"{name}.{'float8' if kind.is_floating_point else 'int4' if kind == INT4 else 'int8'}"
    if kind != torch.int8:
        return ctx.stored(values, kind, role)
    memory = values.detach().cpu().contiguous()
    ctx.kept_alive.append(memory)
    return ctx.emit(ctx.network.add_constant(tuple(memory.shape), memory.numpy()), tuple(memory.shape), role)


def dequantized(ctx: ConverterContext, data: Tensor, scale: torch.Tensor, dtype: torch.dtype, role: str = "") -> Tensor:
    """The layer that dequantises a tensor by constant scales."""
    values, axis = laid_out(scale, data.shape)
    layer = ctx.network.add_dequantize(data.trt, ctx.constant(values, "scale").trt, ctx.data_type(dtype))
    return _with_axis(ctx, layer, axis, data, role)


def quantized(ctx: ConverterContext, x: Tensor, scale: torch.Tensor, dtype: torch.dtype, role: str = "") -> Tensor:
    """The layer that quantises a tensor by constant scales."""
    values, axis = laid_out(scale, x.shape)
    layer = ctx.network.add_quantize(x.trt, ctx.constant(values, "scale").trt, ctx.data_type(dtype))
    return _with_axis(ctx, layer, axis, x, role)


def _with_axis(ctx: ConverterContext, layer: Any, axis: int | None, x: Tensor, role: str) -> Tensor:
    if layer is not None and axis is not None:
        layer.axis = axis
    return ctx.emit(layer, x.shape, role)


def laid_out(scale: torch.Tensor, shape: Sequence[Any]) -> tuple[torch.Tensor, int | None]:
    """Scales in the shape in which TensorRT takes them, with the axis if they are one per slice of one.

    One scale is 0-d, scales per slice are a vector. Blocks may lie along one dimension only; along others they are
    repeated.
    """
    if scale.numel() == 1:
        return scale.reshape(()), None
    coarse = [dim for dim, size in enumerate(scale.shape) if size != shape[dim]]
    whole = [dim for dim, size in enumerate(scale.shape) if size != 1]
    if len(whole) == 1 and scale.shape[whole[0]] == shape[whole[0]]:
        return scale.reshape(-1), whole[0]
    # The dimension with the longest blocks keeps them.
    kept = max(coarse, key=lambda dim: int(shape[dim]) // scale.shape[dim], default=None)
    for dim in coarse:
        if dim != kept:
            scale = scale.repeat_interleave(int(shape[dim]) // scale.shape[dim], dim=dim)
    return scale, None


def fits_scales(scale: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether a half type holds scales to its usual precision: all are normal numbers of it, or 0."""
    limits, sizes = torch.finfo(dtype), scale.abs()
    return bool(((sizes == 0) | ((sizes >= limits.smallest_normal) & (sizes <= limits.max))).all())
