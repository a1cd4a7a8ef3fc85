"""The pass `decompose`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch.fx import Node

from ...compiler.ir.aliasing import mutates
from ...compiler.ir.annotations import annotate_node, annotations_of, clear, kept_whole
from ...compiler.ir.dependencies import SHAPE_QUERIES
from ...compiler.ir.expanded_call import sizes_stay_open
from ...compiler.ir.facts import Fact
from ...compiler.ir.layouts import ASKED, LAYOUT, MADE_CONTIGUOUS, Must, counts_from_the_start, inputs_by_layout
from ...compiler.ir.program import Program
from ...compiler.ir.retraced import retraced
from ...compiler.ir.source import source_of
from ...compiler.ir.symbols import same_size
from ...compiler.ir.text import op_name
from ...compiler.pass_base import Context, Kind, Pass
from ...compiler.tensorrt.plugins import converters_in, rules_in
from ...compiler.tensorrt.registry import default_registry
from .cache_writes import unite_cache_writes
from .expansion import Expansion, expandable, summary_of
from .experts import group_experts
from .flash_for_cpu import flash_attention_for_cpu
from .flex_attention import expand_flex_attention
from .in_float32 import in_float32
from .memory_order import order_memory
from .prims import rules
from .quantized import is_quantised_operator, quantised_rules
from .restate import restate

_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd

aten = torch.ops.aten

SELF_CHECKING = frozenset(
    {
        aten.inverse.default,
        aten.linalg_cholesky.default,
        aten.linalg_inv.default,
        aten.linalg_ldl_factor.default,
        aten.linalg_lu_factor.default,
        aten.linalg_solve.default,
        aten.linalg_tensorinv.default,
    }
)
"""Operators that decompose into one that raises on singular matrices: for such an effect, export threads tokens through
the graph as inputs and outputs of the program. They have no core ATen form that a converter could use either."""

_ROUNDED = (
    aten.multi_margin_loss.default,
    aten.multilabel_margin_loss_forward.default,
    aten._weight_norm_interface.default,
    aten.nll_loss_forward.default,
    aten.nll_loss2d_forward.default,
    aten.softshrink.default,
    aten.special_ndtr.default,
)
"""Operators that PyTorch's kernels compute in float32 inside, and whose decompositions round halves on the way."""

SIZES = frozenset({aten.sym_size.int, aten.sym_numel.default, aten.sym_stride.int, aten.sym_storage_offset.default})
"""Operators that yield a size: core ATen, although PyTorch's dispatcher takes them for composite."""


@functools.cache
def decompositions() -> Mapping[Any, Callable[..., Any]]:
    """torch.export's decompositions down to core ATen, without those of operators that a converter takes whole.

    Adding a converter for a composite operator keeps it whole, with nothing else to change.
    """
    table = dict(torch.export.default_decompositions())
    table[aten.batch_norm.default] = _batch_norm
    table[aten.take.default] = _take
    table[aten.take_along_dim.default] = _take_along_dim
    table[aten._neg_view.default] = _neg_view
    table[aten.resize_as.default] = _resize_as
    table[aten.resize.default] = _resize
    table[aten._scaled_dot_product_flash_attention_for_cpu.default] = flash_attention_for_cpu
    table.update(rules())
    table.update({target: in_float32(table[target]) for target in _ROUNDED})
    return MappingProxyType({target: rule for target, rule in table.items() if target not in _kept()})


@functools.cache
def is_decomposed(target: Any) -> bool:
    """Whether `decompose` rewrites calls of an operator: it has a decomposition, or is composite, and is not kept."""
    if not isinstance(target, torch._ops.OpOverload) or target in _kept():
        return False
    return is_quantised_operator(target) or target in decompositions() or target.has_kernel_for_dispatch_key(_COMPOSITE)


@functools.cache
def _kept() -> frozenset[Any]:
    return SELF_CHECKING | {*default_registry().composite_targets()} | SHAPE_QUERIES


def _batch_norm(
    input: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    """Batch norm for inference as core ATen has it; PyTorch reaches it by functionalization only."""
    if training or running_mean is None or running_var is None:
        return NotImplemented
    return aten._native_batch_norm_legit_no_training(input, weight, bias, running_mean, running_var, momentum, eps)[0]


def _take(self: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Elements by their places in the flattened tensor; PyTorch's own rule reads the value of a 0-d index."""
    result: torch.Tensor = aten.index.Tensor(self.reshape(-1), [index])
    return result


def _take_along_dim(self: torch.Tensor, indices: torch.Tensor, dim: int | None = None) -> Any:
    """Elements along a dimension; PyTorch's own rule makes numbers of sizes."""
    if dim is None:
        return torch.gather(self.reshape(-1), 0, indices.reshape(-1))
    dim = dim % max(self.dim(), 1)
    others = [size for place, size in enumerate(map(_broadcast, self.shape, indices.shape)) if place != dim]
    sizes = [size for size in others if size is not None]
    if self.dim() == 0 or len(sizes) < len(others):
        return NotImplemented
    expanded = [x.expand([*sizes[:dim], x.shape[dim], *sizes[dim:]]) for x in (self, indices)]
    return torch.gather(expanded[0], dim, expanded[1])


def _broadcast(one: int | torch.SymInt, other: int | torch.SymInt) -> int | torch.SymInt | None:
    """The size of two that are broadcast; None where that is not the same for all sizes."""
    if same_size(one, other) or same_size(other, 1):
        return one
    return other if same_size(one, 1) else None


def _neg_view(self: torch.Tensor) -> torch.Tensor:
    """The opposite number, in memory of its own: `z.conj().imag` asks for a view with a mark instead."""
    return torch.neg(self)


def _resize_as(
    self: torch.Tensor, the_template: torch.Tensor, *, memory_format: torch.memory_format | None = None
) -> torch.Tensor:
    """Resizing as the operator in place does it; PyTorch's own rule asks for contiguous memory where nobody did."""
    result: torch.Tensor = aten.resize.default(self, the_template.shape, memory_format=memory_format)
    return result


def _resize(
    self: torch.Tensor, size: Sequence[int], *, memory_format: torch.memory_format | None = None
) -> torch.Tensor:
    """A tensor that has that size already is left as it is, however it lies in memory."""
    same = len(size) == self.dim() and all(map(same_size, size, self.shape))
    return self.clone() if same and memory_format is None else NotImplemented


def _core_aten(program: Program) -> str | None:
    for node in program.op_nodes:
        if is_quantised_operator(node.target):
            continue  # rules of other libraries' operators leave formats that they do not know
        if is_decomposed(node.target) and kept_whole(node) is None and not annotations_of(node).get("own_converter"):
            return f"node {node.name} calls {node.target}, which decompose would have rewritten"
    return None


CORE_ATEN = Fact(
    "core-aten",
    "only core ATen, composite operators that have a converter, and nodes whose decomposition failed",
    _core_aten,
)
"""What `decompose` establishes: a fact about the converters too, which are above `compiler/ir`."""


@dataclass(frozen=True)
class Decompose(Pass):
    """Rewrite operators into core ATen, except those that TensorRT takes whole.

    Before:
        %addcmul = aten.addcmul(%x, %a, %b) : f32[4]
    After:
        %mul = aten.mul.Tensor(%a, 1) : f32[4]
        %mul_1 = aten.mul.Tensor(%mul, %b) : f32[4]
        %add = aten.add.Tensor(%x, %mul_1) : f32[4]
    """

    name: ClassVar[str] = "decompose"
    kind: ClassVar[Kind] = "transform"
    establishes: ClassVar[frozenset[str]] = frozenset({CORE_ATEN.name})

    def run(self, program: Program, ctx: Context) -> Program:
        """Expand the nodes one by one, or retrace the program where that is not possible (in-place operators).

        A node whose decomposition fails either way stays whole, annotated with the reason.
        """
        own = frozenset(target for item in converters_in(ctx.own) if item.composite for target in item.targets)
        rules = {target: rule for target, rule in rules_in(ctx.own).items() if target not in own}
        for node in filter(kept_whole, program.op_nodes):
            clear(node, "whole")
        layouts = _inputs_by_layout(program)
        restate(program.graph)
        order_memory(program.graph)
        group_experts(program.graph)
        table = {**decompositions(), **quantised_rules(program.graph), **rules}
        table = {target: rule for target, rule in table.items() if target not in own}

        def chosen(target: Any) -> bool:
            return target in rules or (target not in own and is_decomposed(target))

        program = self._expanded(program, table, chosen)
        if expand_flex_attention(program.exported.graph_module):
            program = self._expanded(program, table, chosen)
        order_memory(program.graph)
        program = unite_cache_writes(program, ctx.settings.require_full_compilation)
        for place, layout in layouts.items():
            annotate_node(program.user_inputs[place], **{LAYOUT: layout, ASKED: None})
        for node in program.op_nodes:
            if node.target in own and is_decomposed(node.target):
                annotate_node(node, own_converter=True)
        return program

    @staticmethod
    def _expanded(program: Program, table: Mapping[Any, Callable[..., Any]], chosen: Callable[[Any], bool]) -> Program:
        reasons: dict[Node, str] = {}
        expansion = Expansion(table, chosen)
        if expandable(program.graph):
            reasons = expansion.failures(program.graph)
            if not reasons:
                expansion.run(program.graph)
                return program
        try:
            return _retraced(program, table)
        except Exception as error:
            return _as_far_as_possible(program, expansion, reasons, summary_of(error))


def _inputs_by_layout(program: Program) -> dict[int, dict[str, Any]]:
    """The places of inputs of which it matters how they lie in memory, and what tells so, with the user's line."""
    found = inputs_by_layout(program.graph)
    layouts: dict[int, dict[str, Any]] = {}
    for place, node in enumerate(program.user_inputs):
        known = annotations_of(node)
        notes = [note for key in (LAYOUT, ASKED) if (note := known.get(key)) is not None]
        telling = found.get(node, ())
        if telling:
            must = [Must.STRIDES, *([Must.OFFSET] if any(map(counts_from_the_start, telling)) else [])]
            notes.append({"because": _told(telling[0]), "must": [item.value for item in must]})
        if notes:
            must = sorted({item for note in notes for item in note["must"]})
            layouts[place] = {"because": notes[0]["because"], "must": must}
    return layouts


def _told(node: Node) -> str:
    line = annotations_of(node).get(MADE_CONTIGUOUS)
    name, line = (op_name(node.target), source_of(node)) if line is None else ("contiguous", line)
    return f"{name} at {line}" if line else name


def _retraced(program: Program, table: Mapping[Any, Callable[..., Any]]) -> Program:
    with sizes_stay_open(program.graph):
        return replace(program, exported=retraced(program.exported, table))


def _as_far_as_possible(program: Program, expansion: Expansion, reasons: Mapping[Node, str], why: str) -> Program:
    """Expand what can be expanded; the other nodes keep the reason (`why` for those without one of their own)."""
    if not expandable(program.graph):
        # An empty table replaces in-place operators only.
        with suppress(Exception):
            program = _retraced(program, {})
    if expandable(program.graph):
        reasons = reasons or expansion.failures(program.graph)
        expansion.run(program.graph, left=reasons)
    # Results of an engine have memory of their own: what writes to a view of a tensor would write to nothing.
    writes = mutates(program.graph)
    for node in program.op_nodes:
        if writes or expansion.chosen(node.target):
            annotate_node(node, whole=reasons.get(node, why))
    return program
