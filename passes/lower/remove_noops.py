"""The pass `lower.remove-noops`."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import sympy
import torch
from torch.fx import Graph, Node

from ...compiler.ir.aliasing import is_view, may_share, mutates
from ...compiler.ir.decisions import is_decision
from ...compiler.ir.graph import replace_node
from ...compiler.ir.program import Program, bodies_of
from ...compiler.ir.randomness import draws
from ...compiler.ir.symbol_ranges import symbol_ranges
from ...compiler.ir.symbols import Range, dims_of, product, same, same_size
from ...compiler.pass_base import Context, Pass
from .checked_values import asks_for_any, found_in_values, holds_by_itself, of_decided_numbers
from .value_bounds import holds_for_all_values
from .values import ASSERTIONS, remove_dead, same_layout, tensor_of

aten = torch.ops.aten


@dataclass(frozen=True)
class RemoveNoops(Pass):
    """Remove operators that return their input unchanged, assertions on sizes, and values that nothing reads.

    Sizes are checked where the compiled module is called. Assertions on values of tensors, and on sizes that depend on
    them, stay and raise as in PyTorch, and so do those that hold what a model decided by a value when it was exported;
    not those that hold for all inputs, such as that no more of 12 elements are found than 12.

    A copy into another memory layout stays: the views behind it depend on it, and it costs TensorRT nothing. Adding a
    floating-point zero stays because it turns -0.0 into 0.0, and so does a copy without which the caller would get
    memory of an input. Random numbers that nothing reads are not drawn, unless others are read.

    Before:
        %clone = aten.clone(%x) : f32[2,4]
        %mul = aten.mul.Tensor(%clone, 1.0) : f32[2,4]
        %relu = aten.relu(%mul) : f32[2,4]
    After:
        %relu = aten.relu(%x) : f32[2,4]
    """

    name: ClassVar[str] = "lower.remove-noops"

    def run(self, program: Program, ctx: Context) -> Program:
        """Edit the graph in place."""
        graph, copies_count, found = program.graph, mutates(program.graph), found_in_values(program.graph)
        found -= of_decided_numbers(graph)
        ranges = symbol_ranges(program)
        for node in program.op_nodes:
            source = _same_value(node) or _reshaped_back(node)
            if node.target in ASSERTIONS:
                if not _checks_values(node, found, ranges):
                    graph.erase_node(node)
            elif source is not None and (is_view(node) or (not copies_count and may_share(node, source))):
                replace_node(node, source)
        remove_dead(graph)
        draws = _unread_draws(graph)
        if draws:
            ctx.note(
                f"random numbers that nothing reads are not drawn ({len(draws)} times, first by %{draws[0]}): unlike "
                "in PyTorch, a call leaves the generator as it was."
            )
        return program


def _unread_draws(graph: Graph) -> list[str]:
    """Erase what draws random numbers that nothing reads, unless others are read, which follow in PyTorch's sequence.

    A model may draw one for every layer to decide, in training, whether it leaves the layer out.
    """
    drawing = [node for node in graph.nodes if draws(node)]
    unread = set()
    for node in reversed(drawing):
        if all(user in unread for user in node.users):
            unread.add(node)
    writes = any(node.target._schema.is_mutable for node in drawing)
    if not drawing or writes or len(unread) < len(drawing) or any(bodies_of(node) for node in graph.nodes):
        return []
    for node in reversed(drawing):
        graph.erase_node(node)
    remove_dead(graph)
    return [node.name for node in drawing]


def _checks_values(node: Node, found: Container[Node], ranges: Mapping[sympy.Symbol, Range]) -> bool:
    """Whether an assertion can fail for values of tensors."""
    checked = node.args[0] if node.args else None
    if node.target is aten._assert_scalar.default:
        if not isinstance(checked, Node):
            return is_decision(node)
        if holds_for_all_values(checked, ranges):
            return False
        return is_decision(node) or (checked in found and not (holds_by_itself(checked) or asks_for_any(checked)))
    return isinstance(checked, Node) and node.target in (aten._assert_async.default, aten._assert_async.msg)


def _same_value(node: Node) -> Node | None:
    """The argument (or its argument) that holds the same values in the same layout as the node, if there is one."""
    rule = _RULES.get(node.target)
    source = rule(node) if rule is not None else None
    result, argument = tensor_of(node), tensor_of(source)
    return source if result is not None and argument is not None and same_layout(result, argument) else None


def _reshaped_back(node: Node) -> Node | None:
    """The tensor that has the node's elements in the same shape, with nothing but other shapes between.

    An engine does not write one of two outputs that are such (TensorRT-RTX 1.6.1, on an H200).
    """
    result, found = tensor_of(node), None
    while _keeps_order(node):
        node = node.all_input_nodes[0]
        source = tensor_of(node)
        if result is not None and source is not None and same_layout(result, source):
            found = node
    return found


def _keeps_order(node: Node) -> bool:
    """Whether the node gives all elements of its tensor in their order."""
    if node.target in _OTHER_SHAPES:
        return True
    source = tensor_of(node.all_input_nodes[0]) if node.op == "call_function" and node.all_input_nodes else None
    if source is None:
        return False
    if node.target is aten.permute.default:
        moved = [dim for dim in _order(node) if not same_size(source.shape[dim], 1)]
        return moved == sorted(moved)
    if node.target is aten.select.int:
        return same_size(source.shape[int(node.args[1])], 1)  # type: ignore[arg-type]
    if node.target is aten.expand.default:
        result = tensor_of(node)
        return result is not None and same(product(dims_of(result.shape)), product(dims_of(source.shape)))
    return False


def _first(node: Node) -> Any:
    return node.args[0]


def _only_of_list(node: Node) -> Any:
    tensors: Any = node.args[0]
    return tensors[0] if len(tensors) == 1 else None


def _with_step_one(node: Node) -> Any:
    return _first(node) if (*node.args[4:], *node.kwargs.values()) in ((), (1,)) else None


def _with_zero_padding(node: Node) -> Any:
    padding: Any = node.args[1]
    return None if any(padding) else _first(node)


def _in_eval_mode(node: Node) -> Any:
    probability, train = (*node.args[1:], *node.kwargs.values())
    return _first(node) if train is False or probability == 0 else None


def _permuted_back(node: Node) -> Any:
    source = _first(node)
    if _order(node) == sorted(_order(node)):
        return source
    inverse = source.target is aten.permute.default and [_order(source)[dim] for dim in _order(node)]
    return _first(source) if inverse and inverse == sorted(inverse) else None


def _order(node: Node) -> list[int]:
    dims: Any = node.args[1]
    return [dim % len(dims) for dim in dims]


def _with_neutral(number: int, integers_only: bool = False) -> Callable[[Node], Any]:
    def rule(node: Node) -> Any:
        result, operand = tensor_of(node), node.args[1] if len(node.args) > 1 else None
        if result is None or not isinstance(operand, int | float) or operand != number:
            return None
        return None if integers_only and result.is_floating_point() else _first(node)

    return rule


def _with_all_true(node: Node) -> Any:
    full = [item for item in node.all_input_nodes if item.target is aten.full.default and item.args[1] is True]
    return next((item for item in node.all_input_nodes if item not in full), None) if full else None


_OTHER_SHAPES = frozenset(
    {
        aten._unsafe_view.default,
        aten.reshape.default,
        aten.squeeze.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.unsqueeze.default,
        aten.view.default,
    }
)

_RULES: Mapping[Any, Callable[[Node], Any]] = MappingProxyType(
    {
        aten.alias.default: _first,
        aten.clone.default: _first,
        aten.contiguous.default: _first,
        aten.detach.default: _first,
        aten.expand.default: _first,
        aten.lift_fresh_copy.default: _first,
        aten.repeat.default: _first,
        aten.reshape.default: _first,
        aten.squeeze.dims: _first,
        aten.view.default: _first,
        aten._to_copy.default: _first,
        aten._unsafe_view.default: _first,
        aten.bitwise_and.Tensor: _with_all_true,
        aten.logical_and.default: _with_all_true,
        aten.cat.default: _only_of_list,
        aten.constant_pad_nd.default: _with_zero_padding,
        aten.dropout.default: _in_eval_mode,
        aten.permute.default: _permuted_back,
        aten.slice.Tensor: _with_step_one,
        aten.add.Tensor: _with_neutral(0, integers_only=True),
        aten.sub.Tensor: _with_neutral(0),
        aten.mul.Tensor: _with_neutral(1),
        aten.div.Tensor: _with_neutral(1),
        aten.pow.Tensor_Scalar: _with_neutral(1),
    }
)
