"""PyTorch's operators of this package, in the namespace `trt_passes`.

Importing this module registers them, so that `torch.export.load`, `torch.jit.load` and unpickling find the operators of
any program. It imports only PyTorch; what takes many lines to compute is imported when an operator is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

aten = torch.ops.aten

_LIBRARY = torch.library.Library("trt_passes", "DEF")  # type: ignore[no-untyped-call]


def _register(schema: str, shapes: Callable[..., Any], compute: Callable[..., Any] | None = None) -> Any:
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
    name = schema.partition("(")[0]
    if compute is not None:
        _LIBRARY.impl(name, compute, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    # At level 1, PyTorch would look through all modules for this one, which takes as long as everything else here.
    torch.library.register_fake(f"trt_passes::{name}", shapes, lib=_LIBRARY, _stacklevel=0)
    return getattr(torch.ops.trt_passes, name).default


# --- Engines ----------------------------------------------------------------------------------------------------------
def _outputs_of_engine(
    inputs: Sequence[torch.Tensor],
    engine: torch.Tensor,
    spec: str,
    fallback: torch.Tensor,
    constants: Sequence[torch.Tensor],
) -> list[torch.Tensor]:
    from .engine_spec import EngineSpec
    from .shape_rule import ShapeRule

    parsed = EngineSpec.loads(spec)
    shapes = ShapeRule(parsed).output_shapes([tuple(tensor.shape) for tensor in inputs])
    pairs = zip(parsed.outputs, shapes, strict=True)
    return [inputs[0].new_empty(shape, dtype=binding.dtype) for binding, shape in pairs]


EXECUTE_ENGINE = _register(
    "execute_engine(Tensor[] inputs, Tensor engine, str spec, Tensor fallback, Tensor[] constants) -> Tensor[]",
    _outputs_of_engine,
)
"""Stands for an engine in a compiled graph; what runs engines is registered by `runtime/operator.py`."""

# Without a kernel here PyTorch lets results require gradients that nobody can compute: buffers that they are written to
# would keep the history of all calls.
_LIBRARY.impl("execute_engine", torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]


# --- Caches of keys and values ----------------------------------------------------------------------------------------
def write_rows(cache: torch.Tensor, rows: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The cache with new rows at consecutive places.

    An engine writes them into the memory of `cache` and returns that, if the cache is an input of the engine which
    nothing else reads and the result leaves the engine. The caller sees to it that all places are inside.

    Args:
        cache: [B,H,M,D], floats.
        rows: [B,H,S,D], of the same type.
        start: i64[1], the place of the first row; start + S is at most M.

    Raises:
        IndexError: a place is outside (on a GPU an assertion of the device).
    """
    places = start + torch.arange(rows.shape[2], device=start.device)
    return cache.index_copy(2, places, rows)


WRITE_ROWS = _register(
    "write_rows(Tensor cache, Tensor rows, Tensor start) -> Tensor",
    lambda cache, rows, start: torch.empty_like(cache),
    write_rows,
)


# --- Quantisation -----------------------------------------------------------------------------------------------------
def _quantize(*arguments: Any) -> torch.Tensor:
    from .quantized_operators import quantize

    return quantize(*arguments).contiguous()


def _dequantize(*arguments: Any) -> torch.Tensor:
    from .quantized_operators import dequantize

    return dequantize(*arguments).contiguous()


def _converted(input: torch.Tensor, *options: Any) -> torch.Tensor:
    """Has the shape of the input, and the type that the last argument says."""
    return torch.empty_like(input, dtype=options[-1], memory_format=torch.contiguous_format)


QUANTIZE = _register(
    "quantize(Tensor input, Tensor scale, Tensor? zero_point, int low, int high, ScalarType dtype) -> Tensor",
    _converted,
    _quantize,
)
"""`ir/quantized_operators.py` says what its arguments mean."""

DEQUANTIZE = _register(
    "dequantize(Tensor input, Tensor scale, Tensor? zero_point, ScalarType dtype) -> Tensor", _converted, _dequantize
)


def _dequantize_packed(*arguments: Any) -> torch.Tensor:
    from .packed_numbers import dequantize_packed

    return dequantize_packed(*arguments).contiguous()


DEQUANTIZE_PACKED = _register(
    "dequantize_packed(Tensor packed, Tensor scale, str kind, float factor, ScalarType dtype) -> Tensor",
    lambda packed, *options: packed.new_empty((*packed.shape[:-1], 2 * packed.shape[-1]), dtype=options[-1]),
    _dequantize_packed,
)
"""Dequantises a weight in four bits; `ir/packed_numbers.py` says what its arguments mean."""

DEQUANTIZERS = frozenset({DEQUANTIZE, DEQUANTIZE_PACKED})


def _scaled_product(*arguments: Any) -> torch.Tensor:
    from .quantized_products import scaled_product

    return scaled_product(*arguments)


def _pack_int4(packed: torch.Tensor) -> torch.Tensor:
    from .quantized_products import pack_int4

    return pack_int4(packed)


def _packed_product(*arguments: Any) -> torch.Tensor:
    from .quantized_products import packed_product

    return packed_product(*arguments)


SCALED_PRODUCT = _register(
    "scaled_product(Tensor x, Tensor weight, Tensor x_scale, Tensor weight_scale, Tensor? bias, ScalarType dtype) "
    "-> Tensor",
    lambda x, weight, x_scale, weight_scale, bias, dtype: x.new_empty((*x.shape[:-1], weight.shape[0]), dtype=dtype),
    _scaled_product,
)
"""A product of float8 that PyTorch's own kernel computes; `ir/quantized_products.py` says what its arguments mean."""

PACK_INT4 = _register(
    "pack_int4(Tensor packed) -> Tensor",
    lambda packed: packed.new_empty((packed.shape[0] // 8, packed.shape[1] // 64, 32, 4), dtype=torch.int32),
    _pack_int4,
)

PACKED_PRODUCT = _register(
    "packed_product(Tensor x, Tensor packed, Tensor scales) -> Tensor",
    lambda x, packed, scales: x.new_empty((*x.shape[:-1], scales.shape[1])),
    _packed_product,
)
"""A product with weights in four bits that PyTorch's own kernel computes."""


# --- Recurrent layers as export should see them -----------------------------------------------------------------------
# torch.export runs PyTorch's own recurrent operators step by step to find the shapes of their results. That fixes the
# sequence's length, and takes minutes for a long one. These compute the same and say their shapes instead.
def _outputs_of_lstm(
    input: torch.Tensor, hx: list[torch.Tensor], *options: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return _output(input, hx[0], options[5]), torch.empty_like(hx[0]), torch.empty_like(hx[1])


def _outputs_of_rnn(input: torch.Tensor, hx: torch.Tensor, *options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return _output(input, hx, options[5]), torch.empty_like(hx)


def _output(input: torch.Tensor, hidden: torch.Tensor, bidirectional: bool) -> torch.Tensor:
    return input.new_empty(*input.shape[:2], hidden.shape[2] * (2 if bidirectional else 1))


def _recurrent(original: Any, shapes: Callable[..., Any]) -> Any:
    name = original._schema.name.split("::")[1]
    schema = f"{name}{str(original._schema).partition('.input')[2]}"
    return _register(schema, shapes, lambda *arguments: original(*arguments))


LSTM = _recurrent(aten.lstm.input, _outputs_of_lstm)
GRU = _recurrent(aten.gru.input, _outputs_of_rnn)
RNN_TANH = _recurrent(aten.rnn_tanh.input, _outputs_of_rnn)
RNN_RELU = _recurrent(aten.rnn_relu.input, _outputs_of_rnn)
