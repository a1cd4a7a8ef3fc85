"""The pass `lower.complex`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.fx import Node

from ....compiler.ir.aliasing import mutates
from ....compiler.ir.program import Program, bodies_of
from ....compiler.pass_base import Context, Pass
from .found import has_complex


@dataclass(frozen=True)
class Complex(Pass):
    """Compute with complex tensors as pairs of real ones, which TensorRT has.

    A complex tensor becomes two: its real and its imaginary part. Complex inputs are taken apart by a view, and complex
    results are put together by one, in PyTorch, beside the engine. Operators without a rule stay in PyTorch, and so do
    those for which numbers would only be taken apart and put together again; the reason code TP212 says why.
    complex128 is rewritten if `truncate_double` is set.

    Before:
        %view_as_complex = aten.view_as_complex(%x) : c64[4]
        %mul = aten.mul.Tensor(%view_as_complex, %y) : c64[4]
        %view_as_real = aten.view_as_real(%mul) : f32[4,2]
    After:
        %view_as_complex_real = aten.select.int(%x, -1, 0) : f32[4]
        %view_as_complex_imag = aten.select.int(%x, -1, 1) : f32[4]
        %mul_real = aten.mul.Tensor(%view_as_complex_real, %y) : f32[4]
        %mul_imag = aten.mul.Tensor(%view_as_complex_imag, %y) : f32[4]
        %unsqueeze = aten.unsqueeze(%mul_real, -1) : f32[4,1]
        %unsqueeze_1 = aten.unsqueeze(%mul_imag, -1) : f32[4,1]
        %cat = aten.cat([%unsqueeze, %unsqueeze_1], -1) : f32[4,2]
    """

    name: ClassVar[str] = "lower.complex"

    def run(self, program: Program, ctx: Context) -> Program:
        """Rewrite a copy of the graph; tells through `ctx.note` how much changed."""
        if mutates(program.graph):
            return program  # a write to a complex tensor is one to both of its parts at once
        _drop_checks(program)
        touched = [node for node in program.op_nodes if has_complex(node) or _has_complex_body(node)]
        if not touched:
            return program
        from .rewritten import rewritten  # most models have none, and do not wait for the rules

        return rewritten(program, ctx, len(touched))


def _has_complex_body(node: Node) -> bool:
    return any(has_complex(inner) for body in bodies_of(node).values() for inner in body.graph.nodes)


def _drop_checks(program: Program) -> None:
    """Erase the checks of the types of complex tensors, which hold since the model was traced."""
    for node in filter(has_complex, program.op_nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            program.graph.erase_node(node)
