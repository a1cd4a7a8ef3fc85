"""Quantised tensors of TorchScript, as floats on a grid: what is computed with them, and brought onto the next grid.

What quantises and dequantises is written in the operators of PyTorch's graphs, from which the pipeline makes products
of whole numbers where TensorRT has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch.nn import functional as F

from .code import Op
from .grid import GRIDS, Quantised, quantised, quantised_now
from .packed import Packed
from .quantised_recurrent import RECURRENT_LAYERS
from .twin import Unconverted
from .values import dtype_of, is_on_container, number_of


def holds_quantised(values: Sequence[Any]) -> bool:
    """Whether a value, or one in a list, is quantised."""
    inner = (item for value in values if isinstance(value, list | tuple) for item in value)
    return any(isinstance(value, Quantised) for value in (*values, *inner))


def is_quantised_kind(kind: str) -> bool:
    """Whether an operator is one of those for quantised tensors that are converted."""
    return any(kind in known for known in (_MAKERS, _LAYERS, RECURRENT_LAYERS))


def concerns_quantised(op: Op, values: Sequence[Any]) -> bool:
    """Whether an operator computes with quantised tensors; one on containers does not."""
    if is_quantised_kind(op.kind):
        return True
    on_containers = is_on_container(op.kind, values) or (op.kind.startswith("prim::") and op.kind not in _FACTS)
    return not on_containers and holds_quantised(values)


def call_quantised(op: Op, values: list[Any], plain: Callable[[list[Any]], Any]) -> Any:
    """What an operator that takes or makes quantised tensors gives.

    Args:
        op: the operator.
        values: what it takes, in the order of its schema.
        plain: what it makes of floats.

    Raises:
        Unconverted: it is none that is known here.
    """
    kind = op.kind
    made = _MAKERS.get(kind) or _LAYERS.get(kind) or RECURRENT_LAYERS.get(kind)
    if made is not None:
        return made(*values)
    first = next(value for value in (*values, *_items(values)) if isinstance(value, Quantised))
    if kind in _FACTS:
        return _FACTS[kind](*values)
    if kind in _OWN_GRIDS:
        return quantised(plain(_real(values)), *_OWN_GRIDS[kind])
    name = kind.removesuffix("_")
    if name in _MOVES:
        return _each(plain(_real(values)), lambda real: replace(first, real=real))
    if name in _SAME_GRID:
        return _each(plain(_real(values)), first.on_grid)
    raise Unconverted(f"it has {kind} of a quantised tensor")


def _items(values: Sequence[Any]) -> list[Any]:
    return [item for value in values if isinstance(value, list | tuple) for item in value]


def _real(values: Sequence[Any]) -> list[Any]:
    return [_each(value, lambda item: item.real if isinstance(item, Quantised) else item) for value in values]


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_each(item, change) for item in value)
    return change(value)


# --- layers -----------------------------------------------------------------------------------------------------------
def _linear(x: torch.Tensor, packed: Packed) -> torch.Tensor:
    return F.linear(x, packed.real(), packed.bias)


def _convolved(x: torch.Tensor, packed: Packed, rank: int) -> torch.Tensor:
    layer = dict(packed.layer)
    weight, sizes = packed.real(), ("stride", "padding", "dilation", "output_padding")
    if rank == 1:  # which is packed as one of two dimensions
        weight = weight.squeeze(2)
    stride, padding, dilation, more = (list(layer[name])[-rank:] for name in sizes)
    found: torch.Tensor = torch.ops.aten.convolution.default(
        x, weight, packed.bias, stride, padding, dilation, bool(layer["transpose"]), more, layer["groups"]
    )
    return found


def _to_grid(function: Callable[..., torch.Tensor], after: Callable[[torch.Tensor], torch.Tensor] | None = None) -> Any:
    """A layer on quantised tensors, whose last arguments are the scale and the zero point of its result."""

    def call(*values: Any) -> Quantised:
        *given, scale, zero_point = values
        first = next(value for value in (*given, *_items(given)) if isinstance(value, Quantised))
        result = function(*_real(given))
        return quantised(result if after is None else after(result), scale, zero_point, first.dtype)

    return call


def _dynamic(function: Callable[..., torch.Tensor], after: Callable[[torch.Tensor], torch.Tensor] | None = None) -> Any:
    """A layer that quantises its input at run time."""

    def call(x: torch.Tensor, packed: Packed, reduce_range: bool = False) -> torch.Tensor:
        result = function(quantised_now(x, bool(reduce_range)), packed)
        return result if after is None else after(result)

    return call


def _concatenated(parts: Sequence[Quantised], dim: int, scale: float | None, zero_point: int | None) -> Quantised:
    real = torch.cat([part.real for part in parts], dim)
    first = parts[0]
    return quantised(
        real,
        first.scale if scale is None else scale,
        first.zero_point if zero_point is None else zero_point,
        first.dtype,
    )


def _multiplied(x: Quantised, number: Any) -> Quantised:
    """Multiplied by a number, which changes the grid: as `mul_scalar` in ATen's qmul.cpp."""
    factor, (low, high, _) = _known(number), GRIDS[x.dtype]
    if factor == 0:
        return Quantised(torch.zeros_like(x.real), 1.0, 0, x.dtype)
    point = x.zero_point if factor > 0 else low + high - x.zero_point
    return Quantised(x.real * factor, x.scale * abs(factor), point, x.dtype)


def _increased(x: Quantised, number: Any) -> Quantised:
    """A number added, which moves the grid by whole steps: as `add_scalar` in ATen's qadd.cpp."""
    low, high, _ = GRIDS[x.dtype]
    steps = round(_known(number) / x.scale)
    real, point = x.real + steps * x.scale, x.zero_point - steps
    if low <= point <= high:
        return Quantised(real, x.scale, point, x.dtype)
    span = high - point if point < low else point - low
    return quantised(real, span / (high - low) * x.scale, low if point < low else high, x.dtype)


def _known(number: Any) -> float:
    if not isinstance(number, int | float):
        raise Unconverted("it changes a quantised tensor by a number that is not known before the call")
    return float(number)


def _either(on_tensors: Callable[..., Quantised], on_numbers: Callable[..., Quantised], relu: bool = False) -> Any:
    """An operator that takes two tensors, a scale and a zero point, or a tensor and a number in any order."""

    def call(*values: Any) -> Quantised:
        if len(values) == 4:
            return on_tensors(*values)
        x, number = values if isinstance(values[0], Quantised) else values[::-1]
        result = on_numbers(x, number)
        return _relu(result) if relu else result

    return call


def _batch_norm(x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float) -> torch.Tensor:
    return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)


def _looked_up(packed: Packed, indices: torch.Tensor, *_: Any) -> torch.Tensor:
    return F.embedding(indices, packed.real())


def _convolutions() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for rank in (1, 2, 3):

        def plain(x: Any, packed: Packed, *_: Any, rank: int = rank) -> torch.Tensor:
            return _convolved(x, packed, rank)

        found[f"quantized::conv{rank}d"] = _to_grid(plain)
        found[f"quantized::conv{rank}d_relu"] = _to_grid(plain, torch.relu)
        found[f"quantized::conv{rank}d_dynamic"] = _dynamic(plain)
        found[f"quantized::conv_transpose{rank}d"] = _to_grid(plain)
        found[f"quantized::conv_transpose{rank}d_dynamic"] = _dynamic(plain)
    return found


def _normalisations() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for name in ("batch_norm", "batch_norm1d", "batch_norm2d", "batch_norm3d"):
        found[f"quantized::{name}"] = _to_grid(_batch_norm)
        found[f"quantized::{name}_relu"] = _to_grid(_batch_norm, torch.relu)
    return found


_MAKERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "aten::quantize_per_tensor": lambda x, scale, point, dtype: quantised(x, scale, point, dtype_of(dtype)),
        "aten::quantize_per_tensor_dynamic": lambda x, _dtype, reduce: _refused(),
        "aten::_choose_qparams_per_tensor": lambda *_: _refused(),
    }
)

_LAYERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "quantized::linear": _to_grid(_linear),
        "quantized::linear_relu": _to_grid(_linear, torch.relu),
        "quantized::linear_tanh": _to_grid(_linear, torch.tanh),
        "quantized::linear_leaky_relu": lambda x, packed, scale, point, slope: quantised(
            F.leaky_relu(_linear(x.real, packed), slope), scale, point, x.dtype
        ),
        "quantized::linear_dynamic": _dynamic(_linear),
        "quantized::linear_relu_dynamic": _dynamic(_linear, torch.relu),
        "quantized::linear_dynamic_fp16": _linear,
        "quantized::linear_relu_dynamic_fp16": lambda x, packed: torch.relu(_linear(x, packed)),
        **_convolutions(),
        **_normalisations(),
        "quantized::add": _either(_to_grid(torch.add), _increased),
        "quantized::add_relu": _either(_to_grid(torch.add, torch.relu), _increased, relu=True),
        "quantized::add_scalar": _either(_to_grid(torch.add), _increased),
        "quantized::add_scalar_relu": _either(_to_grid(torch.add), _increased, relu=True),
        "quantized::mul": _either(_to_grid(torch.mul), _multiplied),
        "quantized::mul_relu": _either(_to_grid(torch.mul, torch.relu), _multiplied, relu=True),
        "quantized::mul_scalar": _either(_to_grid(torch.mul), _multiplied),
        "quantized::mul_scalar_relu": _either(_to_grid(torch.mul), _multiplied, relu=True),
        "quantized::matmul": _to_grid(torch.matmul),
        "quantized::cat": _concatenated,
        "quantized::cat_relu": lambda *values: _relu(_concatenated(*values)),
        "quantized::sigmoid": _to_grid(torch.sigmoid),
        "quantized::hardswish": _to_grid(F.hardswish),
        "quantized::softmax": _to_grid(torch.softmax),
        "quantized::elu": lambda x, scale, point, alpha=1.0, *_: quantised(F.elu(x.real, alpha), scale, point, x.dtype),
        "quantized::leaky_relu": lambda x, slope, _, scale, point: quantised(
            F.leaky_relu(x.real, slope), scale, point, x.dtype
        ),
        "quantized::prelu": _to_grid(F.prelu),
        "quantized::relu6": lambda x, *_: x.on_grid(x.real.clamp(0, 6)),
        "quantized::clamp": lambda x, low=None, high=None: x.on_grid(x.real.clamp(low, high)),
        "quantized::dropout": lambda x, *_: x,
        "quantized::layer_norm": _to_grid(lambda x, shape, *rest: F.layer_norm(x, shape, *rest)),
        "quantized::group_norm": _to_grid(F.group_norm),
        "quantized::instance_norm": _to_grid(lambda x, w, b, eps: F.instance_norm(x, None, None, w, b, eps=eps)),
        "quantized::max_pool1d": lambda x, *rest: replace(x, real=F.max_pool1d(x.real, *rest)),
        "quantized::max_pool2d": lambda x, *rest: replace(x, real=F.max_pool2d(x.real, *rest)),
        "quantized::embedding_byte": _looked_up,
        "quantized::embedding_4bit": _looked_up,
    }
)
"""Operators of the namespace `quantized`, on quantised tensors and packed weights."""

_FACTS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "aten::dequantize": lambda x: x.real,
        "aten::int_repr": Quantised.numbers,
        "aten::q_scale": lambda x: x.scale,
        "aten::q_zero_point": lambda x: x.zero_point,
        "aten::size": lambda x, *dim: x.real.size(*dim) if dim else list(x.real.size()),
        "aten::dim": lambda x: x.real.dim(),
        "aten::len": lambda x: x.real.size(0),
        "prim::is_quantized": lambda _: True,
        "prim::dtype": lambda x: number_of(x.dtype),
        "prim::device": lambda x: x.real.device,
    }
)

_MOVES = frozenset(
    f"aten::{name}"
    for name in (
        *(
            "view",
            "reshape",
            "flatten",
            "permute",
            "transpose",
            "t",
            "slice",
            "select",
            "unsqueeze",
            "squeeze",
            "expand",
        ),
        *(
            "contiguous",
            "clone",
            "detach",
            "alias",
            "index_select",
            "repeat",
            "narrow",
            "chunk",
            "split",
            "unbind",
            "flip",
        ),
        *("unflatten", "max_pool1d", "max_pool2d", "max_pool3d", "relu", "dropout", "feature_dropout", "pixel_shuffle"),
        *("channel_shuffle", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "expand_as", "view_as"),
    )
)
"""What hands on numbers of the grid."""

_SAME_GRID = frozenset(
    f"aten::{name}"
    for name in (
        *("mean", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
        *("adaptive_avg_pool3d", "upsample_bilinear2d", "clamp", "hardtanh", "relu6", "leaky_relu", "cat", "hardswish"),
    )
)
"""What makes other numbers, which are brought onto the same grid."""

_OWN_GRIDS = MappingProxyType(
    {
        "aten::sigmoid": (1 / 256, 0),
        "aten::hardsigmoid": (1 / 256, 0),
        "aten::tanh": (2 / 256, 128),
    }
)
"""Scale and zero point of what ATen gives a grid of its own."""


def _relu(x: Quantised) -> Quantised:
    return replace(x, real=torch.relu(x.real))


def _refused() -> Any:
    raise Unconverted("it quantises with a scale that is not known before the call")
