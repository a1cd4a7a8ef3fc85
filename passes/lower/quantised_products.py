"""Products of quantised operands as TensorRT builds and fuses them, and which of them compute in eight bits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.fx import Node

from ...compiler.ir.annotations import annotate_node, annotations_of
from ...compiler.ir.dtypes import HALVES, INT4, short_name
from ...compiler.ir.graph import fake_value, insert_call
from ...compiler.ir.operators import DEQUANTIZE, DEQUANTIZE_PACKED, PACKED_PRODUCT, QUANTIZE, SCALED_PRODUCT
from ...compiler.ir.program import Program
from ...compiler.ir.quantized_operators import INT4_RANGE
from ...compiler.ir.source import source_of
from ...compiler.tensorrt.product_times import GPU, LARGE, slower, usual_sizes
from ...compiler.tensorrt.targets import lacking
from .joined_products import constant_nodes
from .known_values import KnownValues
from .quantised_operands import CONVOLUTIONS, MATRIX_PRODUCTS, MOVES, PRODUCTS, Operand, operands_of, quantised
from .settled_steps import quantised_in_floats, spread_scale
from .stored_weights import SMALLEST, full_of
from .values import node_of, tensor_of, value_of

aten = torch.ops.aten

_NAMES = {torch.int8: "int8", torch.float8_e4m3fn: "fp8"}
_OF_PYTORCH = frozenset({SCALED_PRODUCT, PACKED_PRODUCT})
_NAMED = 12
"""Products that a note names for each reason; the rest is counted."""


@dataclass(frozen=True)
class QuantisedProduct:
    """How a product computes.

    Attributes:
        node: the product's name.
        precision: "int8" or "fp8" where both operands have eight bits; "int8 weights", "int4 weights" or "fp8 weights"
            where only the stored weight has few; else "" .
        reason: why it does not compute in eight bits; "" if it does.
        source: the user's line.
    """

    node: str
    precision: str
    reason: str
    source: str | None


class QuantisedProducts:
    """Rewrites the products of one program, in place.

    Args:
        program: whose weights and steps are settled.
        known: the values of its constants.
        capabilities: of the GPUs that engines are built for.
        halves: whether products in float32 will be computed in halves.
    """

    def __init__(self, program: Program, known: KnownValues, capabilities: Iterable[str], halves: bool) -> None:
        self._program, self._known, self._halves = program, known, halves
        self._has_int4 = not lacking(INT4, capabilities)

    def run(self) -> None:
        """Bring what quantises next to each product, and take apart what TensorRT does not build."""
        for node in self._program.op_nodes:
            if node.target is DEQUANTIZE:
                self._quantise_last(node)
        for node in self._program.op_nodes:
            if node.target in PRODUCTS:
                for operand in dict.fromkeys(operands_of(node)):
                    self._bring(operand)
        for node in self._program.op_nodes:
            if node.target in PRODUCTS and not self._scale_afterwards(node):
                self._separate(node)
        for node in self._program.op_nodes:
            if node.target is DEQUANTIZE and self._is_int4(node):
                annotate_node(node, stored="int4")

    # --- placing -------------------------------------------------------------------------------------------------
    def _bring(self, operand: Node) -> None:
        """Quantise after what moves the elements of an operand, not before: kernels of products quantise, others not.

        One scale for all elements is the same before and after.
        """
        path = []
        node = operand
        while node.target in MOVES and len(node.users) == 1:
            path.append(node)
            node = node.all_input_nodes[0]
        found = quantised(node)
        if not path or found is None or found.quantize is None or len(node.users) != 1:
            return
        quantize, (_, scale, _, dtype) = found.quantize, node.args
        steps = tensor_of(scale)
        if len(quantize.users) != 1 or steps is None or math.prod(steps.shape) != 1:
            return
        if quantize.args[1] is not scale and self._known.number(scale) != self._known.number(quantize.args[1]):
            return
        source = node_of(quantize.args[0])
        # The moves read what was quantised, and are read by what quantises now.
        path[-1].replace_input_with(node, source)
        for move in reversed(path):
            move.meta["val"] = fake_value(move)
        users = list(operand.users)
        with operand.graph.inserting_after(operand):
            new = insert_call(operand.graph, DEQUANTIZE, (operand, scale, None, dtype), like=node)
        with operand.graph.inserting_before(new):
            moved = insert_call(operand.graph, QUANTIZE, (operand, *quantize.args[1:]), like=quantize)
        new.args = (moved, *new.args[1:])
        for user in users:
            user.replace_input_with(operand, new)
        operand.graph.erase_node(node)
        operand.graph.erase_node(quantize)

    def _quantise_last(self, node: Node) -> None:
        """Move what is quantised before it is, not after: reshaping 8 bits keeps the product from reading them."""
        path, source = [], node_of(node.args[0])
        while source.target in MOVES and len(source.users) == 1:
            path.append(source)
            source = source.all_input_nodes[0]
        if not path or source.target is not QUANTIZE or len(source.users) != 1:
            return
        x, scale = node_of(source.args[0]), node_of(source.args[1])
        if math.prod(_sizes(scale)) != 1 and not self._rows_are_kept(x, scale, path):
            return
        if math.prod(_sizes(scale)) != 1:
            with node.graph.inserting_after(scale):
                for move in reversed(path):
                    shape = [*node_list(move.args[1])[:-1], 1]
                    scale = insert_call(node.graph, aten.view.default, (scale, shape), like=move)
                    node.graph.inserting_after(scale)
        path[-1].replace_input_with(source, x)
        for move in reversed(path):
            move.meta["val"] = fake_value(move)
        with node.graph.inserting_before(node):
            moved = insert_call(node.graph, QUANTIZE, (path[0], scale, *source.args[2:]), like=source)
        node.replace_input_with(path[0], moved)
        node.graph.erase_node(source)

    def _rows_are_kept(self, x: Node, scale: Node, path: list[Node]) -> bool:
        """Whether scales are one per row, of numbers that lie one after the other, and the moves are of whole rows."""
        shapes = [value_of(item).shape for item in (x, *path)]
        static = all(isinstance(size, int) for move in path for size in node_list(move.args[1])[:-1])
        return (
            all(move.target in (aten.view.default, aten.reshape.default) for move in path)
            and static
            and all(shape[-1] == shapes[0][-1] for shape in shapes)
            and _is_one(value_of(scale).shape[-1])
            and tuple(map(str, value_of(scale).shape[:-1])) == tuple(map(str, shapes[0][:-1]))
        )

    def _scale_afterwards(self, node: Node) -> bool:
        """Multiply a product by scales that are computed per row, instead of its rows: it then reads eight bits.

        Returns whether it was done.
        """
        left, right = operands_of(node)
        first, second = quantised(left), quantised(right)
        if first is None or second is None or first.quantize is None or second.quantize is not None:
            return False
        if node.target not in (aten.linear.default, aten.mm.default, aten.addmm.default, aten.matmul.default):
            return False
        scale = node_of(left.args[1])
        steps, result = value_of(scale), value_of(node)
        if self._known.of(scale) is not None or (steps.dim() and not _is_one(steps.shape[-1])):
            return False
        if first.dtype != second.dtype or not self._is_plain(second, node):
            return False
        if node.target is aten.addmm.default and (len(node.args) > 3 or node.kwargs):
            return False
        graph = node.graph
        with graph.inserting_before(node):
            one = full_of(graph, 1.0, left)
            x = insert_call(graph, DEQUANTIZE, (left.args[0], one, None, torch.float32), like=left)
            weight = insert_call(graph, DEQUANTIZE, (*right.args[:3], torch.float32), like=right)
            plain = aten.mm.default if node.target is aten.addmm.default else node.target
            product = insert_call(graph, plain, (x, weight), like=node)
            scaled = insert_call(graph, aten.mul.Tensor, (product, scale), like=node)
            bias = node.args[0] if node.target is aten.addmm.default else (node.args[2:] or (None,))[0]
            if bias is not None:
                scaled = insert_call(graph, aten.add.Tensor, (scaled, bias), like=node)
            if result.dtype != torch.float32:
                scaled = insert_call(graph, aten._to_copy.default, (scaled,), {"dtype": result.dtype}, like=node)
        node.replace_all_uses_with(scaled)
        graph.erase_node(node)
        return True

    # --- what TensorRT does not build ----------------------------------------------------------------------------
    def _separate(self, node: Node) -> None:
        """Compute in floats where TensorRT-RTX 1.6 has no kernel for what it would fuse, and does not build at all."""
        left, right = operands_of(node)
        first, second = quantised(left), quantised(right)
        if first is None or first.quantize is None or second is None:
            return
        if node.target in CONVOLUTIONS and torch.int8 in (first.dtype, second.dtype):
            self._fold(node, second)
            self._say(node, "TensorRT-RTX has no int8 convolutions")
        elif first.dtype != second.dtype:
            self._apart(node, first)
            self._say(node, f"its operands are {_NAMES[first.dtype]} and {_NAMES[second.dtype]}")
        elif not self._is_plain(second, node):
            self._apart(node, first)
            self._say(node, "the scales of its weight are for blocks, and TensorRT multiplies those as floats")
        elif math.prod(_sizes(left.args[1])) != 1:
            self._apart(node, first)
            self._say(node, "its input has several scales, and TensorRT multiplies that as floats")

    def leave_slow(self) -> None:
        """Compute large products of halves in floats that take longer in eight bits, as measured: exactly, and as fast.

        Their inputs are quantised in floats, which costs nothing beside what makes them.
        """
        matrices = [node for node in self._program.op_nodes if node.target in MATRIX_PRODUCTS]
        # TensorRT joins those of one input.
        columns: Counter[Node] = Counter()
        apart: dict[Node, Node] = {}
        for node in matrices:
            left, right = operands_of(node)
            columns[left] += value_of(right).numel() if value_of(right).dim() == 2 else 0
        for node in matrices:
            left, right = operands_of(node)
            first, second = quantised(left), quantised(right)
            if first is None or first.quantize is None or second is None:
                continue
            if not (value_of(node).dtype in HALVES or self._halves) or not self._has_one_scale(left):
                continue
            reason = self.why_slow(first, right, columns[left])
            if not reason:
                continue
            if left not in apart:
                self._apart(node, first)
                apart[left] = operands_of(node)[0]
            else:
                node.replace_input_with(left, apart[left])
            if second.quantize is not None and right is not left and self._has_one_scale(right):
                self._apart(node, second)
            self._say(node, reason)

    def _has_one_scale(self, operand: Node) -> bool:
        return self._known.of(operand.args[1]) is not None and math.prod(_sizes(operand.args[1])) == 1

    def why_slow(self, left: Operand, right: Node, weights: int) -> str:
        """Why a product in eight bits is not known to be faster than in halves; "" if it is, or is too small to matter.

        Args:
            left: the first operand.
            right: the second.
            weights: numbers of all weights that multiply the first operand.
        """
        name = _NAMES[left.dtype]
        second = quantised(right)
        if value_of(right).dim() != 2 or second is None or second.quantize is not None:
            return f"products of two results, and of several matrices, were not measured to be faster in {name}"
        if weights < LARGE:
            return ""
        sizes = usual_sizes(value_of(left.dequantize), weights)
        if sizes is None:
            return f"its number of rows is not known, and {name} is faster for many rows only"
        item = slower(name, *sizes)
        if item is None:
            return ""
        return f"{item.sizes} takes {item.us[name]:g} us in {name}, and {item.us['f16']:g} in halves, on {GPU}"

    def _say(self, node: Node, reason: str) -> None:
        annotate_node(node, floats=reason)

    def _fold(self, node: Node, operand: Operand) -> None:
        """The weight of one product as floats."""
        values = self._known.of(operand.dequantize)
        if values is None:
            return
        constant = self._known.store(self._program, f"{operand.dequantize.name}_floats", values)
        node.replace_input_with(operand.dequantize, constant)

    def _apart(self, node: Node, operand: Operand) -> None:
        """An operand of one product, quantised and dequantised without TensorRT seeing it."""
        graph, old = node.graph, operand.dequantize
        quantize = node_of(operand.quantize)
        with graph.inserting_before(node):
            if operand.dtype == torch.int8:
                data = insert_call(graph, QUANTIZE, quantize.args, like=quantize)
                new = insert_call(graph, DEQUANTIZE, (data, *old.args[1:]), like=old)
            else:
                one, data = full_of(graph, 1.0, old), quantize
                spread = spread_scale(quantize, quantize.args[1], quantize)
                if spread is not quantize.args[1]:
                    # TensorRT divides by no scales of blocks that are computed.
                    wide = insert_call(
                        graph, aten._to_copy.default, quantize.args[:1], {"dtype": torch.float32}, like=old
                    )
                    scaled = insert_call(graph, aten.div.Tensor, (wide, spread), like=old)
                    data = insert_call(graph, QUANTIZE, (scaled, one, *quantize.args[2:]), like=quantize)
                new = insert_call(graph, DEQUANTIZE, (data, one, None, torch.float32), like=old)
                new = insert_call(graph, aten.mul.Tensor, (new, spread_scale(old, old.args[1], old)), like=old)
                new = insert_call(graph, aten._to_copy.default, (new,), {"dtype": old.args[3]}, like=old)
        node.replace_input_with(old, new)
        if operand.dtype == torch.int8:
            quantised_in_floats(data)

    def _is_plain(self, operand: Operand, product: Node) -> bool:
        """Whether an operand has one scale, or one for each of its columns in the product."""
        sizes, data = _sizes(operand.dequantize.args[1]), value_of(operand.dequantize)
        wide = [dim for dim, size in enumerate(sizes) if not _is_one(size)]
        if not wide:
            return True
        out = data.dim() - 2 if product.target is aten.linear.default else data.dim() - 1
        out = 0 if product.target in CONVOLUTIONS else out
        return wide == [out] and sizes[out] == data.shape[out]

    def _is_int4(self, node: Node) -> bool:
        """Whether the numbers of a stored weight fit into four bits, and TensorRT builds products with such."""
        values = self._known.of(node.args[0])
        if not self._has_int4 or values is None or values.dtype != torch.int8 or values.numel() < SMALLEST:
            return False
        if node.args[3] not in HALVES and not self._halves:
            return False
        users = [user for user in node.users if user.target is not aten._assert_tensor_metadata.default]
        if values.dim() != 2 or values.shape[-1] % 2 or not users:
            return False
        for user in users:
            if user.target not in PRODUCTS or user.target in CONVOLUTIONS or operands_of(user)[1] is not node:
                return False
            if quantised(operands_of(user)[0]) is not None:
                return False
        return int(values.min()) >= INT4_RANGE[0] and int(values.max()) <= INT4_RANGE[1]

    # --- what is found -------------------------------------------------------------------------------------------
    def found(self) -> tuple[QuantisedProduct, ...]:
        """All products with how they compute; nothing where nothing is quantised."""
        rows = []
        for node in self._program.op_nodes:
            facts = annotations_of(node)
            if node.target in PRODUCTS:
                row = self._row(node)
                annotate_node(node, precision=row.precision or None)
                rows += [row] * int(facts.get("joined", 1))
            elif node.target in _OF_PYTORCH:
                row = QuantisedProduct(node.name, str(facts["precision"]), "", source_of(node))
                rows += [row] * int(facts.get("joined", 1))
        return tuple(rows)

    def _row(self, node: Node) -> QuantisedProduct:
        left, right = operands_of(node)
        first, second = quantised(left), quantised(right)
        name, source, said = node.name, source_of(node), annotations_of(node).get("floats")
        if first is not None and second is not None and first.quantize is not None and said is None:
            return QuantisedProduct(name, _NAMES[first.dtype], "", source)
        stored = ""
        if second is not None and second.quantize is None:
            int4 = annotations_of(right).get("stored") == "int4"
            stored = f"{'int4' if int4 else _NAMES[second.dtype]} weights"
        elif right.target is DEQUANTIZE_PACKED:
            stored = f"{right.args[2]} weights"
        reason = said or annotations_of(left).get("floats") or annotations_of(right).get("floats")
        if reason is None and stored:
            reason = "its input is not quantised" if first is None else "its operands differ in how they are quantised"
        if reason is None and second is None:
            reason = self._why_floats(right)
        if reason is None:
            reason = "its weight is not quantised" if first is not None else "it is not quantised"
        return QuantisedProduct(name, stored, str(reason), source)

    @cached_property
    def _constants(self) -> set[Node]:
        return constant_nodes(self._program)

    def _why_floats(self, weight: Node) -> str | None:
        """Why a weight that the model stores in few bits is one of floats; None for one that has been all along."""
        waiting, seen = [weight], set[Node]()
        while waiting:
            node = waiting.pop()
            value = tensor_of(node)
            if value is None or node not in self._constants or node in seen:
                continue
            seen.add(node)
            said = annotations_of(node).get("floats")
            if said is not None:
                return str(said)
            if value.dtype.itemsize == 1 and value.dtype not in _NAMES and value.dtype != torch.bool:
                return f"its weight is stored in {short_name(value.dtype)}, from which TensorRT does not dequantise"
            waiting += node.all_input_nodes
        return None


def products_text(rows: Iterable[QuantisedProduct]) -> str:
    """How many products compute in eight bits, and why the others do not: a few sentences; "" if none is quantised."""
    rows = list(rows)
    eight = Counter(row.precision for row in rows if row.precision in ("int8", "fp8"))
    stored = Counter(row.precision for row in rows if row.precision.endswith(" weights"))
    if not eight and not stored and all(row.reason == "it is not quantised" for row in rows):
        return ""
    total = len(rows)
    shares = [f"{count} of {total} products in {name}" for name, count in eight.items()]
    shares += [f"{count} of {total} products with {name}" for name, count in stored.items()]
    parts = [f"{', '.join(shares) or f'0 of {total} products in int8 or fp8'}."]
    reasons: dict[str, list[QuantisedProduct]] = {}
    for row in rows:
        if row.reason:
            reasons.setdefault(row.reason, []).append(row)
    for reason, group in reasons.items():
        texts = list(dict.fromkeys(row.node + (f" ({row.source})" if row.source else "") for row in group))
        names = ", ".join(texts[:_NAMED])
        rest = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
        parts.append(f"Not in 8 bits, since {reason}: {names}{rest}.")
    return " ".join(parts)


def node_list(argument: Any) -> list[Any]:
    """An argument that is a list of sizes."""
    return list(argument) if isinstance(argument, list | tuple) else []


def _sizes(scale: object) -> tuple[int, ...]:
    return tuple(value_of(scale).shape)


def _is_one(size: object) -> bool:
    return isinstance(size, int) and size == 1
