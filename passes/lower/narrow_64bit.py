"""The pass `lower.narrow-64bit`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.fx import Node

from ...compiler.ir.aliasing import mutates
from ...compiler.ir.program import Program, is_getitem
from ...compiler.pass_base import Context, Pass
from .casts import Casts, has_dtype, retype

_LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class Narrow64Bit(Pass):
    """Compute float64 tensors in float32, if `truncate_double` is set; inputs and outputs keep their types.

    TensorRT has no float64. Its int64 is a full data type, so integers stay as they are.

    Before:
        %sin = aten.sin(%x) : f64[4]
        return [%sin]
    After:
        %x_f32 = aten._to_copy(%x, dtype=f32) : f32[4]
        %sin = aten.sin(%x_f32) : f32[4]
        %sin_f64 = aten._to_copy(%sin, dtype=f64) : f64[4]
        return [%sin_f64]
    """

    name: ClassVar[str] = "lower.narrow-64bit"

    def run(self, program: Program, ctx: Context) -> Program:
        """Edit the graph in place; tells through `ctx.note` how much changed."""
        wide = [node for node in program.op_nodes if _computes_wide(node)]
        if not ctx.settings.truncate_double or not wide or mutates(program.graph):
            return program  # a write to a copy of another type would be one to the copy alone
        casts = Casts(program.graph)
        whole = [node for node in program.op_nodes if _keeps_types(node)]
        borders = {node for node in program.graph.nodes if node.op in ("placeholder", "get_attr") or _is_whole(node)}
        results = {node for node in wide if has_dtype(node, torch.float64)}
        for node in wide:
            casts.cast_arguments(node, torch.float64, torch.float32, borders)
            node.args = tuple(_narrow(value) for value in node.args)
            node.kwargs = {name: _narrow(value) for name, value in node.kwargs.items()}
            retype(node, torch.float64, torch.float32)
        for node in (*whole, program.output_node):
            casts.cast_arguments(node, torch.float32, torch.float64, results)
        ctx.note(f"truncate_double: {len(wide)} op nodes compute in float32 instead of float64 ({casts.count} casts).")
        return program


def _computes_wide(node: Node) -> bool:
    """Whether a node reads or yields float64, other than to cast an input or an output of the program."""
    involved = (node, *node.all_input_nodes)
    return not (_is_border(node) or _is_whole(node)) and (
        any(has_dtype(item, torch.float64) for item in involved) or torch.float64 in node.kwargs.values()
    )


def _takes_graphs(node: Node) -> bool:
    return isinstance(node.target, torch._ops.HigherOrderOperator)


def _keeps_types(node: Node) -> bool:
    """Whether a node takes graphs, whose nodes keep their types, or complex128, which TensorRT lacks in any width.

    A view as another type reads the bits of an element.
    """
    involved = (node, *node.all_input_nodes)
    if node.target is torch.ops.aten.view.dtype and any(has_dtype(item, torch.float64) for item in involved):
        return True
    return _takes_graphs(node) or any(has_dtype(item, torch.complex128) for item in involved)


def _is_whole(node: Node) -> bool:
    """Whether a node keeps its types, or picks a result of one that does."""
    return _keeps_types(node) or (is_getitem(node) and _is_whole(node.all_input_nodes[0]))


def _is_border(node: Node) -> bool:
    if node.target is not torch.ops.aten._to_copy.default:
        return False
    widens = not has_dtype(node.all_input_nodes[0], torch.float64) and has_dtype(node, torch.float64)
    narrows = node.all_input_nodes[0].op == "placeholder" and not has_dtype(node, torch.float64)
    return narrows or (widens and all(user.op == "output" for user in node.users))


def _narrow(argument: Any) -> Any:
    """float32 for float64, and the nearest finite float32 for a number beyond all of them, such as float64's max."""
    if isinstance(argument, float) and math.isfinite(argument) and abs(argument) > _LARGEST:
        return math.copysign(_LARGEST, argument)
    return torch.float32 if argument is torch.float64 else argument
