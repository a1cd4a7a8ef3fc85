"""Weights that the model stores in eight bits, and computes with as floats: dequantised where they are used."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Graph, Node

from ...compiler.ir.graph import insert_call
from ...compiler.ir.operators import DEQUANTIZE, QUANTIZE
from ...compiler.ir.program import Program
from ...compiler.ir.quantized_operators import spread
from .known_values import KnownValues
from .quantised_operands import MATRIX_PRODUCTS, MOVES, PRODUCTS, operands_of
from .values import node_of, tensor_of, value_of

aten = torch.ops.aten

SMALLEST = 1024
"""Elements from which on a weight is worth staying in eight bits: fewer are folded into floats."""

_STORED = (torch.int8, torch.float8_e4m3fn)
_SHAPED = frozenset({aten.view.default, aten.reshape.default, aten._unsafe_view.default})
_TURNS = frozenset({aten.t.default, aten.transpose.int, aten.permute.default})


class StoredWeights:
    """Finds the casts of such weights in one program, and gathers the scales that they are multiplied by; in place."""

    def __init__(self, program: Program, known: KnownValues) -> None:
        self._program, self._known = program, known

    def run(self) -> None:
        """Rewrite all of them."""
        for node in self._program.op_nodes:
            if node.target is aten._to_copy.default:
                self._to_float8(node)
                self._cast(node, node)
            elif node.target is aten.mul.Tensor:
                for source in node.all_input_nodes:
                    self._cast(source, node)
        for node in self._program.op_nodes:
            if node.target in _TURNS:
                self._turned(node)
            elif node.target in _SHAPED:
                self._shaped(node)
            elif node.target in (aten.mul.Tensor, aten.div.Tensor):
                self._scaled(node)
            elif node.target is aten._to_copy.default:
                self._retyped(node)
        for node in self._program.op_nodes:
            if node.target in (aten.mul.Tensor, aten.div.Tensor):
                self._scaled_product(node)

    def _cast(self, node: Node, reader: Node) -> None:
        """A weight that becomes floats, by a cast or since it is multiplied by some: dequantised by a scale of 1.

        Args:
            node: the cast, or the weight that is multiplied.
            reader: the cast, or the multiplication.
        """
        source = node_of(node.args[0]) if node is reader else node
        data, result = tensor_of(source), tensor_of(reader)
        if data is None or result is None or result.dtype not in _FLOATS:
            return
        if data.dtype not in _STORED or not _is_multiplied(reader):
            return
        values = self._known.of(source)
        if values is None or values.numel() < SMALLEST:
            return
        stored = source if self._known.is_stored(source) else self._constant(source.name, values)
        with node.graph.inserting_before(reader):
            one = full_of(node.graph, 1.0, reader)
            new = insert_call(node.graph, DEQUANTIZE, (stored, one, None, result.dtype), like=reader)
        if node is reader:
            node.replace_all_uses_with(new)
            node.graph.erase_node(node)
        else:
            reader.replace_input_with(node, new)

    def _to_float8(self, node: Node) -> None:
        """A cast to float8 of what lies within its range: quantised by a scale of 1, which saturates beyond it."""
        source, result = node_of(node.args[0]), tensor_of(node)
        if result is None or result.dtype != torch.float8_e4m3fn or not _is_within(source, 448.0):
            return
        if value_of(source).dtype not in _FLOATS:
            return
        with node.graph.inserting_before(node):
            one = full_of(node.graph, 1.0, node)
            args = (source, one, None, -448, 448, torch.float8_e4m3fn)
            new = insert_call(node.graph, QUANTIZE, args, like=node)
        node.replace_all_uses_with(new)
        # The cast is read no more, and removed with all that is not.

    def _turned(self, node: Node) -> None:
        """A stored weight with its dimensions exchanged: stored so."""
        weight = node.args[0]
        if not isinstance(weight, Node) or not self._is_weight(weight):
            return
        data, scale, _, dtype = weight.args
        target: Any = node.target
        values, steps = self._value(data), self._value(scale)
        name = node_of(data).name
        stored = self._constant(name, target(values, *node.args[1:]).contiguous())
        scales = self._constant(f"{name}_scale", target(steps, *node.args[1:]).contiguous() if steps.dim() else steps)
        with node.graph.inserting_before(node):
            new = insert_call(node.graph, DEQUANTIZE, (stored, scales, None, dtype), like=node)
        node.replace_all_uses_with(new)
        node.graph.erase_node(node)

    def _shaped(self, node: Node) -> None:
        """A stored weight in another shape: stored so, if its scales are for blocks of that shape's last dimension."""
        weight = node.args[0]
        if not isinstance(weight, Node) or not self._is_weight(weight):
            return
        data, scale, _, dtype = _arguments(weight)
        values, steps, shape = self._value(data), self._value(scale), tuple(value_of(node).shape)
        if steps.dim():
            whole = spread(steps, values.shape).expand(values.shape).reshape(shape)
            length = math.gcd(int(values.shape[-1]), int(shape[-1])) if values.dim() and shape else 1
            blocks = whole.reshape(*shape[:-1], -1, length)
            if not shape or not bool((blocks == blocks[..., :1]).all()):
                return
            steps = blocks[..., 0]
            steps = steps[..., :1] if bool((steps == steps[..., :1]).all()) else steps
        stored = self._constant(node_of(data).name, values.reshape(shape).contiguous())
        scales = self._constant(f"{node_of(data).name}_scale", steps.contiguous())
        with node.graph.inserting_before(node):
            new = insert_call(node.graph, DEQUANTIZE, (stored, scales, None, dtype), like=node)
        node.replace_all_uses_with(new)
        node.graph.erase_node(node)

    def _scaled(self, node: Node) -> None:
        """A stored weight times constants: they go into its scale, if each is for whole slices."""
        for weight, factor in (node.args[:2], node.args[1::-1]):
            if not isinstance(weight, Node) or not self._is_weight(weight):
                continue
            if node.target is aten.div.Tensor and weight is node.args[1]:
                continue
            data, scale, _, _ = weight.args
            values, steps = self._known.of(data), self._known.of(scale)
            factors = torch.tensor(float(factor)) if isinstance(factor, int | float) else self._known.of(factor)
            result = tensor_of(node)
            if values is None or steps is None or factors is None or result is None or result.shape != values.shape:
                continue
            aligned = factors.float().reshape((1,) * (values.dim() - factors.dim()) + tuple(factors.shape))
            aligned = _in_blocks(aligned)
            combined = _combined(steps, aligned if node.target is aten.mul.Tensor else 1 / aligned, values)
            if combined is None:
                continue
            self._dequantized(node, node_of(data), combined, result.dtype)
            return

    def _retyped(self, node: Node) -> None:
        """A dequantised weight in another type: dequantised to it at once."""
        weight, result = node.args[0], tensor_of(node)
        if not isinstance(weight, Node) or not self._is_weight(weight):
            return
        if result is None or result.dtype not in _FLOATS:
            return
        with node.graph.inserting_before(node):
            args = (*weight.args[:3], result.dtype)
            new = insert_call(node.graph, DEQUANTIZE, args, like=node)
        node.replace_all_uses_with(new)
        node.graph.erase_node(node)

    def _scaled_product(self, node: Node) -> None:
        """A product with a stored weight, its columns multiplied by constants: they go into the weight's scale."""
        for product, factor in (node.args[:2], node.args[1::-1]):
            if not isinstance(product, Node) or product.target not in MATRIX_PRODUCTS or len(product.users) != 1:
                continue
            if product.target in (aten.addmm.default, aten.baddbmm.default) or len(product.args) > 2:
                continue
            if node.target is aten.div.Tensor and product is node.args[1]:
                continue
            _, weight = operands_of(product)
            factors, result, before = self._known.of(factor), tensor_of(node), tensor_of(product)
            if not self._is_weight(weight) or factors is None or result is None or before is None:
                continue
            if result.dtype != before.dtype or result.shape != before.shape or len(weight.users) != 1:
                continue
            data, scale, _, dtype = _arguments(weight)
            values, steps = self._value(data), self._value(scale)
            if values.dim() != 2 or factors.dim() > 1 or factors.numel() not in (1, before.shape[-1]):
                continue
            columns = factors.float() if node.target is aten.mul.Tensor else 1 / factors.float()
            by_row = product.target is aten.linear.default
            combined = _combined(steps, columns.reshape((-1, 1) if by_row else (1, -1)), values)
            if combined is None:
                continue
            self._dequantized(weight, data, combined, dtype)
            node.replace_all_uses_with(product)
            node.graph.erase_node(node)
            return

    def _dequantized(self, node: Node, data: Node, scale: torch.Tensor, dtype: torch.dtype) -> None:
        """Put a weight with another scale in the place of a node."""
        scales = self._constant(f"{data.name}_scale", scale)
        with node.graph.inserting_before(node):
            new = insert_call(node.graph, DEQUANTIZE, (data, scales, None, dtype), like=node)
        node.replace_all_uses_with(new)
        node.graph.erase_node(node)

    def _value(self, node: object) -> torch.Tensor:
        value = self._known.of(node)
        if value is None:
            raise TypeError(f"{node} is not constant")
        return value

    def _is_weight(self, node: object) -> bool:
        """Whether a node dequantises what is stored."""
        if not isinstance(node, Node) or node.target is not DEQUANTIZE or node.args[2] is not None:
            return False
        return self._known.is_stored(node.args[0]) and self._known.of(node.args[1]) is not None

    def _constant(self, name: str, values: torch.Tensor) -> Node:
        return self._known.store(self._program, name.removeprefix("c_"), values)


def _arguments(node: Node) -> Any:
    return node.args


_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def _combined(steps: torch.Tensor, factors: torch.Tensor, values: torch.Tensor) -> torch.Tensor | None:
    """The product of two scales of a weight; None if it were nearly as large as the weight."""
    if steps.dim() == 0:
        steps = steps.reshape((1,) * values.dim())
    if factors.dim() != values.dim() or any(
        whole % size for size, whole in zip(factors.shape, values.shape, strict=True)
    ):
        return None
    sizes = []
    for step, factor in zip(steps.shape, factors.shape, strict=True):
        if factor != 1 and step not in (1, factor):
            return None
        sizes.append(max(step, factor))
    if math.prod(sizes) * 8 > values.numel():
        return None
    return steps.float() * factors


def _in_blocks(scale: torch.Tensor) -> torch.Tensor:
    """A scale in which one number stands for each block of equal ones: [1, 1, 2, 2] is [1, 2]."""
    for dim, size in enumerate(scale.shape):
        if size < 2:
            continue
        differs = (scale.diff(dim=dim) != 0).movedim(dim, 0).flatten(1).any(1) if scale.dim() > 1 else scale.diff() != 0
        length = math.gcd(size, *(differs.nonzero().flatten() + 1).tolist())
        if length > 1:
            scale = scale.index_select(dim, torch.arange(0, size, length, device=scale.device))
    return scale


def _is_within(node: Node, limit: float) -> bool:
    """Whether a value is clamped to at most a limit on both sides, moved and converted since or not."""
    while node.target in MOVES or node.target is aten._to_copy.default:
        node = node.all_input_nodes[0]
    if node.target is not aten.clamp.default:
        return False
    low, high = (*node.args[1:], None, None)[:2]
    low, high = node.kwargs.get("min", low), node.kwargs.get("max", high)
    return isinstance(low, int | float) and isinstance(high, int | float) and -limit <= low and high <= limit


def _is_multiplied(node: Node) -> bool:
    """Whether a value becomes an operand of a product, moved, scaled or converted, and nothing else."""
    waiting, found, seen = list(node.users), False, set[Node]()
    while waiting:
        user = waiting.pop()
        if user in seen:
            continue
        seen.add(user)
        if user.target in PRODUCTS or user.target is aten.embedding.default:
            found = True
        elif user.target in MOVES or user.target in (aten.mul.Tensor, aten.div.Tensor, aten._to_copy.default):
            waiting += user.users
        else:
            return False
    return found


def full_of(graph: Graph, value: float, like: Node) -> Node:
    """A new 0-d number in float32."""
    return insert_call(graph, aten.full.default, ([], value), {"dtype": torch.float32}, like=like)
