"""What rules an operator out whatever its converter says: randomness, mutation, data types, ranks, sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sympy
import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree

from ..compiler.ledger import Reason
from ..compiler.tensorrt.dtypes import is_representable, short_name
from ..compiler.text import op_name

MAX_RANK = 8
"""Dimensions that a TensorRT tensor can have (`Dims.MAX_DIMS`)."""

_CAST_ONLY = frozenset({torch.uint8, torch.int8})
_CASTS = frozenset({torch.ops.aten._to_copy.default})


def general_reasons(node: Node, bounds: Mapping[sympy.Symbol, Any]) -> Iterator[Reason]:
    """Reasons that hold for every operator; `bounds` are the program's range constraints of symbolic sizes."""
    target, name = node.target, op_name(node.target)
    if isinstance(target, torch._ops.OpOverload):
        if torch.Tag.nondeterministic_seeded in target.tags and not _deterministic(node):
            yield Reason("TP207", f"{name} draws random numbers.")
            return
        if target._schema.is_mutable:
            yield Reason("TP208", f"{name} writes to one of its inputs.")
    new_sizes = _unbacked(node.meta.get("val")) - set().union(
        *(_unbacked(n.meta.get("val")) for n in node.all_input_nodes)
    )
    if new_sizes:
        sizes = ", ".join(sorted(str(symbol) for symbol in new_sizes))
        yield Reason("TP204", f"the size {sizes} of the result of {name} depends on the values of a tensor.")
        return
    roles = [("result", node), *((f"input %{source.name}", source) for source in node.all_input_nodes)]
    for role, source in roles:
        for tensor in _tensors(source.meta.get("val")):
            yield from _tensor_reasons(target, role, tensor, bounds)


def _tensor_reasons(
    target: Any, role: str, tensor: torch.Tensor, bounds: Mapping[sympy.Symbol, Any]
) -> Iterator[Reason]:
    if not is_representable(tensor.dtype):
        hint = " (truncate_double=True computes it in float32)" if tensor.dtype == torch.float64 else ""
        yield Reason("TP201", f"the {role} is {short_name(tensor.dtype)}, which TensorRT does not have{hint}.")
    elif tensor.dtype in _CAST_ONLY and target not in _CASTS:
        yield Reason("TP201", f"the {role} is {short_name(tensor.dtype)}, which TensorRT can only cast.")
    if tensor.dim() > MAX_RANK:
        yield Reason(
            "TP202", f"the {role} has rank {tensor.dim()}; TensorRT tensors have at most {MAX_RANK} dimensions."
        )
    if tensor.layout != torch.strided:
        yield Reason("TP201", f"the {role} has the layout {tensor.layout}; TensorRT tensors are dense.")
    for symbol in sorted(_unbacked(tensor), key=str):
        limits = bounds.get(symbol)
        if limits is None or limits.upper in (sympy.oo, None) or not getattr(limits.upper, "is_Integer", False):
            yield Reason(
                "TP203",
                f"the {role} has the size {symbol}, which depends on the values of a tensor and has no upper bound; "
                "an engine needs one.",
            )


def _deterministic(node: Node) -> bool:
    """Dropout with training switched off, and probability 0, draw nothing."""
    from ..compiler.call import Call

    call = Call(node)
    arguments = {argument.name for argument in node.target._schema.arguments}  # type: ignore[union-attr]
    if "train" in arguments:
        return call.arg("train") is False
    return "dropout_p" in arguments and call.arg("dropout_p") == 0.0


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _unbacked(value: Any) -> set[sympy.Symbol]:
    return set().union(*(free_unbacked_symbols(leaf) for leaf in _tensors(value))) if value is not None else set()
