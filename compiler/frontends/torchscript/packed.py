"""Weights that PyTorch's quantised layers have packed, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.ao.quantization.fx import _decomposed  # noqa: F401  (which registers the operators)
from torch.utils._python_dispatch import _disable_current_modes

DECOMPOSED = torch.ops.quantized_decomposed


@dataclass(frozen=True, eq=False)
class Packed:
    """The weight of a layer.

    Attributes:
        weight: whole numbers, or floats of a layer in half precision.
        scale, zero_point: of the whole numbers: numbers, or vectors along `axis`; None for floats.
        axis: of the weight; None for one scale.
        bias: None if there is none.
        layer: of a convolution: what else it has, by name; empty for others.
    """

    weight: torch.Tensor
    scale: Any = None
    zero_point: Any = None
    axis: int | None = None
    bias: torch.Tensor | None = None
    layer: tuple[tuple[str, Any], ...] = ()

    def real(self) -> torch.Tensor:
        """The weight in floats."""
        if self.scale is None:
            return self.weight
        info = torch.iinfo(self.weight.dtype)
        grid = (info.min, info.max, self.weight.dtype)
        found: torch.Tensor
        if self.axis is None:
            found = DECOMPOSED.dequantize_per_tensor.default(self.weight, self.scale, self.zero_point, *grid)
        else:
            found = DECOMPOSED.dequantize_per_channel.default(
                self.weight, self.scale, self.zero_point, self.axis, *grid
            )
        return found


@dataclass(frozen=True, eq=False)
class PackedCell:
    """The weights of one layer and direction of a recurrent module.

    Attributes:
        given, kept: what multiplies the input and the state, with the biases.
        at_run_time: whether inputs are quantised at run time; else the weights are halves.
        reduce_range: whether that is to 128 numbers.
    """

    given: Packed
    kept: Packed
    at_run_time: bool
    reduce_range: bool


def unpacked(value: Any) -> Any:
    """What a packed weight holds; any other value as it is."""
    if not isinstance(value, torch.ScriptObject):
        return value
    kind = str(value._type())
    unpack = next((own for name, own in _KINDS.items() if f".{name}ParamsBase" in kind), None)
    if unpack is None:
        return value
    with _no_tracing():
        return unpack(value)


def number_in(tensor: torch.Tensor) -> Any:
    """The number in a tensor of one element, which is none of a graph that is traced."""
    with _no_tracing():
        return tensor.item()


@contextmanager
def _no_tracing() -> Iterator[None]:
    """While entered, tensors are what they are, also where a graph is traced of which they become constants."""
    with torch.no_grad(), _disable_current_modes(), torch._C.DisableTorchFunction():
        yield


def _linear(packed: Any) -> Packed:
    try:
        weight, bias = torch.ops.quantized.linear_unpack(packed)
    except RuntimeError:  # it is of halves
        weight, bias = torch.ops.quantized.linear_unpack_fp16(packed)
    return _of(weight, bias)


def _convolution(packed: Any) -> Packed:
    weight, bias = packed.unpack()
    names = ("stride", "padding", "dilation", "transpose", "output_padding", "groups")
    return _of(weight, bias, tuple((name, getattr(packed, name)()) for name in names))


def _embedding(packed: Any) -> Packed:
    return _of(torch.ops.quantized.embedding_bag_unpack(packed), None)


def _cell(packed: Any) -> Any:
    ((kind, _, _, flags, weights), _) = packed.__getstate__()
    if kind not in ("quantized_dynamic", "quantized_fp16"):
        return packed
    given, kept = map(_linear, weights)
    return PackedCell(given, kept, kind == "quantized_dynamic", bool(flags[0]) if flags else False)


_KINDS: dict[str, Callable[[Any], Any]] = {
    "LinearPacked": _linear,
    "Conv2dPacked": _convolution,
    "Conv3dPacked": _convolution,
    "EmbeddingPacked": _embedding,
    "rnn.Cell": _cell,
}


def _of(weight: torch.Tensor, bias: torch.Tensor | None, layer: tuple[tuple[str, Any], ...] = ()) -> Packed:
    bias = None if bias is None else bias.detach().clone()
    if not weight.is_quantized:
        return Packed(weight.float(), bias=bias, layer=layer)
    if weight.qscheme() == torch.per_tensor_affine:
        return Packed(weight.int_repr(), weight.q_scale(), weight.q_zero_point(), None, bias, layer)
    scales, points = weight.q_per_channel_scales(), weight.q_per_channel_zero_points()
    axis = weight.q_per_channel_axis()
    if (
        points.is_floating_point()
    ):  # rows of embeddings: (numbers - point) * scale with points that are no whole numbers
        return Packed(weight.dequantize(), bias=bias, layer=layer)
    return Packed(weight.int_repr(), scales.float(), points.long(), axis, bias, layer)
