"""The pass `lower.quantisation`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ...compiler.ir.aliasing import mutates
from ...compiler.ir.dtypes import HALVES
from ...compiler.ir.operators import DEQUANTIZE, DEQUANTIZERS, QUANTIZE
from ...compiler.ir.program import Program
from ...compiler.pass_base import Context, Pass
from .values import remove_dead, tensor_of


@dataclass(frozen=True)
class Quantisation(Pass):
    """Put what quantises and dequantises where TensorRT fuses it, as it has it; the rest becomes arithmetic.

    TensorRT quantises to int8 and float8 around 0. Other zero points are shifted where that is exact, or computed in
    floats. Weights stay stored in eight or four bits, whether the model dequantises or converts them, and their scales
    are gathered. Operands are quantised next to their product, and scales that are computed per row are multiplied
    after it. Fewer than eight rows are padded to eight. The notes of the run say which products compute in int8 or
    fp8, and why the others do not.

    Before:
        %mul = aten.mul.Tensor(%b_q, %b_s) : f32[64,32]
        %linear = aten.linear(%x, %mul) : f32[2,64]
    After:
        %dequantize_1 = trt_passes.dequantize(%b_q, %c_b_q_scale, None, f32) : f32[64,32]
        %constant_pad_nd = aten.constant_pad_nd(%x, [0, 0, 0, 6]) : f32[8,32]
        %linear = aten.linear(%constant_pad_nd, %dequantize_1) : f32[8,64]
        %slice_1 = aten.slice.Tensor(%linear, -2, 0, 2) : f32[2,64]
    """

    name: ClassVar[str] = "lower.quantisation"

    def run(self, program: Program, ctx: Context) -> Program:
        """Edit the graph in place."""
        if mutates(program.graph) or not _is_concerned(program):
            return program
        # Most models are not quantised, and do not wait for what rewrites those that are.
        from .deduplicate import Deduplicate
        from .few_rows import pad_few_rows
        from .joined_weights import join_float_weights
        from .known_values import KnownValues
        from .packed_weights import pack_weights, unpack_weights
        from .pytorch_products import PytorchProducts
        from .quantised_products import QuantisedProducts, products_text
        from .settled_steps import SettledSteps
        from .shared_steps import share_steps
        from .slow_rows import leave_slow_rows
        from .stored_grids import store_grids
        from .stored_weights import StoredWeights
        from .unscaled_products import keep_unscaled_in_float32

        known = KnownValues(program)
        unpack_weights(program, known)
        before = any(node.target in (QUANTIZE, DEQUANTIZE) for node in program.op_nodes)
        SettledSteps(program, known).run()
        StoredWeights(program, known).run()
        store_grids(program, known)
        halves, targets = bool(ctx.settings.enabled_precisions & HALVES), ctx.settings.compute_capabilities
        if not before and not any(node.target in DEQUANTIZERS for node in program.op_nodes):
            _say(products_text(QuantisedProducts(program, known, targets, halves).found()), ctx)
            return program
        # Each layer finds the largest number of an input for itself.
        program = Deduplicate().run(program, ctx)
        products = QuantisedProducts(program, known, targets, halves)
        products.run()
        share_steps(program, known)
        PytorchProducts(program, known, ctx.settings).run()
        fast = ctx.settings.quantised_weights == "fast"
        if fast:
            products.leave_slow()
            leave_slow_rows(program, known, ctx.settings.enabled_precisions & HALVES, products.why_slow)
            join_float_weights(program, known, halves)
        keep_unscaled_in_float32(program, known)
        pad_few_rows(program, may_be_floats=fast and (halves or _has_halves(program)))
        remove_dead(program.graph)
        _say(products_text(products.found()), ctx)
        pack_weights(program, known)
        return program


_MARKS = frozenset({QUANTIZE, *DEQUANTIZERS, torch.ops.aten.round.default})
"""What is quantised, and how weights are computed that are."""


def _say(text: str | None, ctx: Context) -> None:
    if text:
        ctx.note(text)


def _is_concerned(program: Program) -> bool:
    """Whether anything is quantised, stored in whole numbers or few bits, or scaled by numbers in float64."""
    if any(node.target in _MARKS for node in program.op_nodes):
        return True
    values = (tensor_of(node) for node in program.graph.nodes)
    if any(value is not None and _is_rare(value.dtype) for value in values):
        return True
    whole = (value for value in program.constants.values() if not value.dtype.is_floating_point)
    return any(value.dtype != torch.bool and value.numel() > 1 for value in whole)


def _has_halves(program: Program) -> bool:
    return any(node.target is DEQUANTIZE and node.args[3] in HALVES for node in program.op_nodes)


def _is_rare(dtype: torch.dtype) -> bool:
    return dtype == torch.float64 or (dtype.itemsize == 1 and dtype != torch.bool)
