"""Zero points and ranges of quantised tensors: shifted into what TensorRT has where that is exact, else arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from ...compiler.ir.annotations import annotate_node, annotations_of
from ...compiler.ir.graph import fake_value, insert_call
from ...compiler.ir.operators import DEQUANTIZE, QUANTIZE
from ...compiler.ir.program import Program
from ...compiler.ir.quantized_operators import RANGES, spread
from .known_values import KnownValues
from .moved_zero_points import is_moved, move_to_zero
from .single_precision import single_precision
from .values import node_of, value_of

aten = torch.ops.aten

_STORED = (torch.int8, torch.float8_e4m3fn)


def quantised_in_floats(node: Node) -> None:
    """Let a quantising call, and what dequantises its result, compute the same numbers in float32, in place."""
    readers = [user for user in node.users if user.target is DEQUANTIZE]
    _quantize_in_floats(node)
    for reader in readers:
        _dequantize_in_floats(reader)


class SettledSteps:
    """Rewrites the quantise and dequantise calls of one program, in place.

    What stays is as TensorRT has it: int8 from -128 to 127 around 0, or float8. Everything else becomes arithmetic on
    floats that computes the same numbers.
    """

    def __init__(self, program: Program, known: KnownValues) -> None:
        self._program, self._known = program, known

    def run(self) -> None:
        """Settle all calls."""
        single_precision(self._program)
        for node in self._program.op_nodes:
            if node.target is QUANTIZE:
                self._stored(node)
        for node in self._program.op_nodes:
            if node.target is DEQUANTIZE and self._known.of(node.args[0]) is not None:
                self._dequantize(node)
        for node in self._program.op_nodes:
            if node.target is QUANTIZE:
                self._quantize(node)
        for node in self._program.op_nodes:
            if node.target is DEQUANTIZE:
                self._dequantize(node)

    # --- weights ---------------------------------------------------------------------------------------------------
    def _stored(self, node: Node) -> None:
        """Compute what is quantised from constants: a weight, in fewer bytes."""
        values = self._known.of(node)
        if values is not None and node.users:
            self._replace(node, values)

    def _replace(self, node: Node, values: torch.Tensor) -> Node:
        constant = self._known.store(self._program, node.name, values.detach())
        node.replace_all_uses_with(constant)
        self._program.graph.erase_node(node)
        return constant

    def _dequantize(self, node: Node) -> None:
        data, scale, zero_point, dtype = _arguments(node)
        data, scale = node_of(data), node_of(scale)
        values = self._known.of(data)
        if zero_point is not None and self._known.number(zero_point) == 0:
            node.update_arg(2, None)
            zero_point = None
        if values is None:
            if zero_point is not None or value_of(data).dtype not in _STORED:
                _dequantize_in_floats(node)
            return
        steps, shift = self._known.of(scale), self._known.of(zero_point) if zero_point is not None else None
        if steps is None or (zero_point is not None and shift is None):
            _dequantize_in_floats(node)
            return
        if values.dtype in _STORED and shift is None:
            if not self._known.is_stored(data):
                self._replace(data, values)
            return
        centred = values.long() if values.dtype not in _STORED[1:] else values
        if shift is not None:
            centred = centred - spread(shift.long(), values.shape)
        if values.dtype.is_floating_point or int(centred.min()) < -128 or int(centred.max()) > 127:
            # No eight bits around 0 hold these numbers: the weight is a float like any other.
            whole = self._known.of(node)
            if whole is not None and node.users:
                low, high = int(centred.min()), int(centred.max())
                held = f"numbers of {low} to {high}" if not values.dtype.is_floating_point else f"{values.dtype}"
                reason = f"its weight has {held} around its zero points, which eight bits do not hold: it is floats"
                annotate_node(self._replace(node, whole), floats=reason)
            return
        with node.graph.inserting_before(node):
            constant = self._known.store(self._program, f"{data.name}_centred", centred.to(torch.int8))
        node.args = (constant, scale, None, dtype)

    # --- activations -----------------------------------------------------------------------------------------------
    def _quantize(self, node: Node) -> None:
        x, scale, zero_point, low, high, dtype = _arguments(node)
        if dtype == torch.float8_e4m3fn:
            return
        shift = 0.0 if zero_point is None else self._known.number(zero_point)
        reason = self._reason(node, shift, low, high, dtype)
        if reason is not None and is_moved(node, self._known):
            move_to_zero(node, self._known, self._program)
            return
        if reason is not None:
            for user in node.users:
                annotate_node(user, floats=reason)
            _quantize_in_floats(node)
            return
        low, high = low - int(shift or 0), high - int(shift or 0)
        with node.graph.inserting_before(node):
            if (low, high) != RANGES[torch.int8]:
                x = self._clamped(node, low, high)
            node.args = (x, scale, None, -128, 127, torch.int8)
        node.meta["val"] = fake_value(node)
        for user in [user for user in node.users if user.target is DEQUANTIZE]:
            user.args = (node, user.args[1], None, user.args[3])

    def _reason(self, node: Node, shift: float | None, low: int, high: int, dtype: torch.dtype) -> str | None:
        """Why TensorRT cannot quantise as a call does, or None."""
        if shift is None:
            return "its zero point is computed at run time, or differs between channels; TensorRT quantises around 0"
        if not (low - shift >= -128 and high - shift <= 127):
            if shift == 0:
                return f"its numbers are {low} to {high}, and TensorRT quantises to -128 to 127"
            return f"its zero point is {shift:g} ({low} to {high}), and TensorRT quantises around 0"
        others = [user for user in node.users if user.target is not DEQUANTIZE or not self._agrees(user, shift)]
        if others and (shift or dtype != torch.int8):
            return f"{others[0].name} reads its whole numbers"
        steps = self._known.of(node.args[1])
        if steps is not None and not bool(((steps > 0) & steps.isfinite()).all()):
            return "a scale is not a positive number"
        if (low - shift, high - shift) != RANGES[torch.int8] and not self._broadcasts(node):
            return f"its blocks are clamped to {low - shift:g} to {high - shift:g}"
        return None

    def _agrees(self, user: Node, shift: float) -> bool:
        zero_point = user.args[2]
        return (0.0 if zero_point is None else self._known.number(zero_point)) == shift

    def _broadcasts(self, node: Node) -> bool:
        data, scale = value_of(node.args[0]), value_of(node.args[1])
        if scale.dim() == 0:
            return True
        pairs = zip(scale.shape, data.shape, strict=True)
        return all((isinstance(step, int) and step == 1) or step is size or step == size for step, size in pairs)

    def _clamped(self, node: Node, low: int, high: int) -> Node:
        """The input of a call, clamped to what the range of its results is."""
        x, scale = node.args[:2]
        limits = [_call(node, aten.mul.Tensor, scale, float(limit)) for limit in (low, high)]
        return _call(node, aten.clamp.Tensor, _wide(node, x), *limits)


def _quantize_in_floats(node: Node) -> None:
    """Round and clamp in float32; what dequantises reads that, and whatever else the whole numbers."""
    x, scale, zero_point, low, high, dtype = _arguments(node)
    with node.graph.inserting_before(node):
        inverse = _call(node, aten.reciprocal.default, _wide(node, spread_scale(node, scale, x)))
        result = _call(node, aten.mul.Tensor, _wide(node, x), inverse)
        result = _call(node, aten.round.default, result)
        if zero_point is not None:
            result = _call(node, aten.add.Tensor, result, _wide(node, spread_scale(node, zero_point, x)))
        result = _call(node, aten.clamp.default, result, low, high)
        whole = insert_call(node.graph, aten._to_copy.default, (result,), {"dtype": dtype}, like=node)
    for user in list(node.users):
        user.replace_input_with(node, result if user.target is DEQUANTIZE else whole)
    node.graph.erase_node(node)
    if not whole.users:
        node.graph.erase_node(whole)


def _dequantize_in_floats(node: Node) -> None:
    data, scale, zero_point, dtype = _arguments(node)
    with node.graph.inserting_before(node):
        result = _wide(node, data)
        if zero_point is not None:
            result = _call(node, aten.sub.Tensor, result, _wide(node, spread_scale(node, zero_point, data)))
        result = _call(node, aten.mul.Tensor, result, _wide(node, spread_scale(node, scale, data)))
        if dtype != torch.float32:
            result = insert_call(node.graph, aten._to_copy.default, (result,), {"dtype": dtype}, like=node)
    annotate_node(result, floats=annotations_of(node).get("floats"))
    node.replace_all_uses_with(result)
    node.graph.erase_node(node)


def spread_scale(node: Node, scale: Any, data: Any) -> Any:
    """A scale, or zero point, in a shape that broadcasts with the data: blocks are repeated."""
    steps, whole, scale = value_of(scale), value_of(data), node_of(scale)
    if steps.dim() == 0:
        return scale
    for dim, (blocks, size) in enumerate(zip(steps.shape, whole.shape, strict=True)):
        if isinstance(blocks, int) and isinstance(size, int) and blocks not in (1, size):
            scale = _repeated(node, scale, size // blocks, dim)
    return scale


def _repeated(node: Node, scale: Node, times: int, dim: int) -> Node:
    """Each slice of a dimension several times, one after the other."""
    shape = value_of(scale).shape
    sizes: list[Any] = [
        size if isinstance(size, int) else _call(node, aten.sym_size.int, scale, index)
        for index, size in enumerate(shape)
    ]
    sizes[dim] = int(shape[dim]) * times
    wide: list[int] = [-1] * (len(shape) + 1)
    wide[dim + 1] = times
    parts = _call(node, aten.expand.default, _call(node, aten.unsqueeze.default, scale, dim + 1), wide)
    return _call(node, aten.view.default, _call(node, aten.clone.default, parts), sizes)


def _arguments(node: Node) -> Any:
    return node.args


def _wide(node: Node, value: Any) -> Node:
    """A node's value in float32."""
    if value_of(value).dtype == torch.float32:
        return node_of(value)
    return insert_call(node.graph, aten._to_copy.default, (value,), {"dtype": torch.float32}, like=node)


def _call(node: Node, target: Callable[..., Any], *args: Any) -> Node:
    return insert_call(node.graph, target, args, like=node)
