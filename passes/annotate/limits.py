"""What rules an operator out whatever its converter says: randomness, mutation, data types, ranks, sizes."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import sympy
import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from ...compiler.ir.annotations import annotations_of
from ...compiler.ir.dependencies import data_dependent, new_sizes
from ...compiler.ir.dtypes import short_name
from ...compiler.ir.ledger import Reason
from ...compiler.ir.operators import DEQUANTIZE, DEQUANTIZE_PACKED, QUANTIZE
from ...compiler.ir.randomness import draws
from ...compiler.ir.symbols import NO_LIMIT, Range
from ...compiler.ir.text import op_name
from ...compiler.tensorrt.dtypes import is_representable
from ...compiler.tensorrt.tensor import MAX_RANK

aten = torch.ops.aten

_CAST_ONLY = frozenset({torch.uint8, torch.int8})
_CASTS = frozenset({aten._to_copy.default})
_MOVES = frozenset(
    {
        *(aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.permute.default),
        *(aten.transpose.int, aten.t.default, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims),
        *(aten.slice.Tensor, aten.select.int, aten.expand.default, aten.clone.default, aten.alias.default),
        *(aten.cat.default, aten.split_with_sizes.default),
    }
)
"""Operators that move elements, int8 as well as any."""

_QUANTIZED = frozenset({torch.int8, torch.float8_e4m3fn})
_QUANTIZERS: Mapping[Any, frozenset[torch.dtype]] = MappingProxyType(
    {QUANTIZE: _QUANTIZED, DEQUANTIZE: _QUANTIZED, DEQUANTIZE_PACKED: frozenset({torch.uint8, torch.float8_e4m3fn})}
)
_EIGHT_BIT_FLOATS = frozenset({torch.float8_e4m3fn, torch.float8_e8m0fnu})


_BORDERS: Mapping[Any, str] = MappingProxyType(
    {
        aten.view_as_real.default: "here complex numbers are taken apart for what follows, by a view",
        aten.view_as_complex.default: "here they are put together for what follows, by a view",
    }
)
"""What lower.complex puts beside complex inputs, results and operators that stay in PyTorch."""


def general_reasons(
    node: Node, bounds: Mapping[sympy.Symbol, Range], inner: Container[sympy.Symbol] = frozenset()
) -> Iterator[Reason]:
    """Reasons that hold for every operator.

    Args:
        node: the operator's node.
        bounds: the ranges of the program's symbols.
        inner: data-dependent sizes that never leave an engine, so that they need no bounds.
    """
    target, name = node.target, op_name(node.target)
    if isinstance(target, torch._ops.OpOverload):
        if draws(node):
            yield Reason("TP207", f"{name} draws random numbers.")
            return
        if target._schema.is_mutable:
            yield Reason("TP208", f"{name} writes to one of its inputs.")
    made = sorted(str(symbol) for symbol in new_sizes(node) if symbol not in inner)
    if made:
        sizes = ", ".join(made)
        yield Reason("TP204", f"the size {sizes} of the result of {name} depends on the values of a tensor.")
        return
    complex_reason = _complex_reason(node)
    if complex_reason is not None:
        yield complex_reason
        return
    roles = [("result", node), *((f"input %{source.name}", source) for source in node.all_input_nodes)]
    for role, source in roles:
        for tensor in _tensors(source.meta.get("val")):
            yield from _tensor_reasons(target, role, tensor)
            yield from _unbounded(role, tensor, bounds, inner)


def _complex_reason(node: Node) -> Reason | None:
    """Why complex numbers are left in a node, if it reads or yields any."""
    found = [
        (role, short_name(tensor.dtype))
        for role, source in (("result", node), *((f"input %{source.name}", source) for source in node.all_input_nodes))
        for tensor in _tensors(source.meta.get("val"))
        if tensor.dtype.is_complex
    ]
    if not found:
        return None
    role, name = found[0]
    why = annotations_of(node).get("complex") or _BORDERS.get(node.target) or "lower.complex did not run"
    return Reason("TP212", f"the {role} is {name}, which TensorRT does not have: {why}.")


def _tensor_reasons(target: Any, role: str, tensor: torch.Tensor) -> Iterator[Reason]:
    if not is_representable(tensor.dtype):
        hint = " (truncate_double=True computes it in float32)" if tensor.dtype == torch.float64 else ""
        yield Reason("TP201", f"the {role} is {short_name(tensor.dtype)}, which TensorRT does not have{hint}.")
    elif tensor.dtype in _QUANTIZERS.get(target, ()):
        pass
    elif tensor.dtype in _EIGHT_BIT_FLOATS:
        yield Reason("TP201", f"the {role} is {short_name(tensor.dtype)}, which TensorRT can only dequantise.")
    elif tensor.dtype == torch.int8 and target in _MOVES:
        pass
    elif tensor.dtype in _CAST_ONLY and target not in _CASTS:
        yield Reason("TP201", f"the {role} is {short_name(tensor.dtype)}, which TensorRT can only cast.")
    if tensor.dim() > MAX_RANK:
        yield Reason(
            "TP202", f"the {role} has rank {tensor.dim()}; TensorRT tensors have at most {MAX_RANK} dimensions."
        )
    if tensor.layout != torch.strided:
        yield Reason("TP201", f"the {role} has the layout {tensor.layout}; TensorRT tensors are dense.")


def _unbounded(
    role: str, tensor: torch.Tensor, bounds: Mapping[sympy.Symbol, Range], inner: Container[sympy.Symbol]
) -> Iterator[Reason]:
    for symbol in sorted((item for item in data_dependent(tensor) if item not in inner), key=str):
        if symbol not in bounds or bounds[symbol][2] >= NO_LIMIT:
            yield Reason(
                "TP203",
                f"the {role} has the size {symbol}, which depends on the values of a tensor and has no upper bound; "
                "an engine needs one.",
            )


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
