"""The pass `lower.complex`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ....compiler.ir.aliasing import mutates
from ....compiler.ir.annotations import annotate_node
from ....compiler.ir.expanded_call import NotExpandable
from ....compiler.ir.program import Program, is_getitem
from ....compiler.pass_base import Context, Pass
from ..values import remove_dead
from .constants import Constants
from .rewriting import Rewriting, has_complex
from .rules import rules
from .selection import left_for_itself, left_for_others

_NAMED = 12
"""Nodes that a note names; the rest is counted."""


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
        touched = [node for node in program.op_nodes if has_complex(node)]
        if not touched:
            return program
        left, table = _left(program, ctx), _decompositions(ctx)
        while True:
            left |= left_for_others(program, left)
            attempt = program.copy()
            failed = _rewrite(attempt, left, table)
            if not failed:
                break
            left |= failed
        _note(ctx, len(touched), left)
        return attempt


def _drop_checks(program: Program) -> None:
    """Erase the checks of the types of complex tensors, which hold since the model was traced."""
    for node in filter(has_complex, program.op_nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            program.graph.erase_node(node)


def _left(program: Program, ctx: Context) -> dict[str, str]:
    """The complex operators that stay as they are, by name, with the reason."""
    known, wide = rules(Constants(program)), ctx.settings.truncate_double
    left: dict[str, str] = {}
    for node in filter(has_complex, program.op_nodes):
        producer = node.args[0].name if is_getitem(node) else ""  # type: ignore[union-attr]
        reason = left.get(producer) or left_for_itself(node, known, wide)
        if reason is not None:
            left[node.name] = reason
    return left


def _decompositions(ctx: Context) -> Mapping[Any, Any]:
    """PyTorch's own, down to core ATen, without those of operators that a converter takes whole."""
    whole = frozenset(ctx.converters.composite_targets())
    table = torch.export.default_decompositions()
    return {target: rule for target, rule in table.items() if target not in whole}


def _rewrite(program: Program, left: Mapping[str, str], table: Mapping[Any, Any]) -> dict[str, str]:
    """Rewrite the complex operators of a program in place, but those that are left; returns those that cannot be."""
    constants, failed = Constants(program), {}
    rewriting = Rewriting(program, rules(constants), constants, table)
    for node in filter(has_complex, program.op_nodes):
        if node.name in left:
            annotate_node(node, complex=left[node.name])
        else:
            try:
                rewriting.rewrite(node)
            except NotExpandable as error:
                failed[node.name] = str(error)
            except Exception as error:
                # A rule is asked for what it was not made for: that concerns this one node.
                failed[node.name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
            if failed:
                break
    rewriting.finish()
    remove_dead(program.graph)
    return failed


def _note(ctx: Context, count: int, left: Mapping[str, str]) -> None:
    texts = [f"%{name}: {reason}" for name, reason in list(left.items())[:_NAMED]]
    rest = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    stay = f" {len(left)} stay in PyTorch ({'; '.join(texts)}{rest})." if left else ""
    ctx.note(f"complex numbers: {count - len(left)} of {count} op nodes compute with pairs of real tensors.{stay}")
