"""Operators that read the memory behind a tensor: of a tensor whose elements, in order, are all of that memory.

`as_strided` counts in memory. Results of engines lie in it in their order, whatever they did when the model was traced:
a transposed tensor's elements would be taken for others. So the tensor that is read is brought into the order that the
model had it in, of which every step is an operator with a result that does not hang on memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from ...compiler.ir.aliasing import is_view
from ...compiler.ir.call import Call
from ...compiler.ir.graph import insert_call, refresh_values
from ...compiler.ir.symbols import expression, same, same_size, simplified

aten = torch.ops.aten

_READS = frozenset({aten.as_strided.default, aten.as_strided_copy.default})
_WRITES = frozenset({aten.as_strided_scatter.default})


@dataclass(frozen=True)
class _Memory:
    """A tensor that is all that is read of some memory, in whatever order.

    Attributes:
        node: the tensor.
        order: its dimensions from the outermost in memory to the innermost.
        offset: the place of its first element.
    """

    node: Node
    order: tuple[int, ...]
    offset: Any

    @property
    def is_in_order(self) -> bool:
        return self.order == tuple(range(len(self.order)))


def order_memory(graph: Graph) -> None:
    """Let what reads or copies memory (`as_strided`) do so of tensors that lie in it in order, in place."""
    changed: list[Node] = []
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in _READS:
            changed += _read_in_order(graph, node)
        elif node.op == "call_function" and node.target in _WRITES:
            changed += _written_in_order(graph, node)
    if changed:
        graph.eliminate_dead_code()
        refresh_values(graph, changed)


def _read_in_order(graph: Graph, node: Node) -> Iterator[Node]:
    call = Call(node)
    memory = _memory(call, node.args[0])
    if memory is None or (memory.node is node.args[0] and memory.is_in_order and memory.offset == 0):
        return
    offset = _offset(call, memory)
    if offset is None:
        return
    with graph.inserting_before(node):
        source = _in_order(graph, memory, node)
    node.args = (source, call.arg("size"), call.arg("stride"), offset)
    node.kwargs = {}
    yield node


def _written_in_order(graph: Graph, node: Node) -> Iterator[Node]:
    """Likewise for a copy of a tensor with some of its memory replaced, whose result is in the tensor's own order."""
    call = Call(node)
    x = node.args[0]
    memory = _dense(x) if isinstance(x, Node) else None
    if memory is None or (memory.is_in_order and memory.offset == 0):
        return
    offset = _offset(call, memory)
    if offset is None:
        return
    with graph.inserting_before(node):
        source = _in_order(graph, memory, node)
        args = (source, call.arg("src"), call.arg("size"), call.arg("stride"), offset)
        written = insert_call(graph, node.target, args, like=node)
        back = [memory.order.index(axis) for axis in range(len(memory.order))]
        result = insert_call(graph, aten.permute.default, (written, back), like=node)
    node.replace_all_uses_with(result)
    graph.erase_node(node)
    yield result


def _in_order(graph: Graph, memory: _Memory, like: Node) -> Node:
    if memory.is_in_order:
        return memory.node
    return insert_call(graph, aten.permute.default, (memory.node, list(memory.order)), like=like)


def _memory(call: Call, x: Any) -> _Memory | None:
    """The nearest tensor that holds what is read, among x and what it is a view of."""
    while isinstance(x, Node):
        found = _dense(x)
        if found is not None and (not is_view(x) or _lies_in(call, found)):
            return found
        if not is_view(x):
            return None
        (x, *_) = x.all_input_nodes
    return None


def _dense(node: Node) -> _Memory | None:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or value.layout is not torch.strided or value.is_complex():
        return None
    sizes, strides = list(value.shape), list(value.stride())
    # The example's strides propose an order; that it is one for all sizes is what is compared.
    hints = [_hint(stride) for stride in strides]
    if None in hints:
        return None
    order = sorted(range(len(sizes)), key=lambda axis: (-int(hints[axis] or 0), _hint(sizes[axis]) == 1, axis))
    expected: Any = 1
    for axis in reversed(order):
        if not same_size(sizes[axis], 1):
            if not same(expression(strides[axis]), simplified(expected)):
                return None
            expected = expected * expression(sizes[axis])
    return _Memory(node, tuple(order), simplified(expression(value.storage_offset())))


def _hint(size: Any) -> int | None:
    if isinstance(size, int):
        return size
    return None if size.node.hint is None else int(size.node.hint)


def _offset(call: Call, memory: _Memory) -> Any:
    """The place of the first element that is read, counted from the tensor's first; None if that is not a number."""
    given = call.arg("storage_offset")
    if memory.offset == 0 and given is not None:
        return given
    own = call.value("self").storage_offset() if given is None else call.value("storage_offset")
    offset = simplified(expression(own) - memory.offset)
    return offset if isinstance(offset, int) and offset >= 0 else None


def _lies_in(call: Call, memory: _Memory) -> bool:
    """Whether all that is read is in the tensor, as far as numbers tell."""
    value = memory.node.meta["val"]
    offset, size, stride = _offset(call, memory), call.value("size"), call.value("stride")
    if not all(isinstance(number, int) for number in (offset, *size, *stride, *value.shape)):
        return False
    return 0 in size or offset + _reach(size, stride) < value.numel()


def _reach(size: Sequence[int], stride: Sequence[int]) -> int:
    return sum((length - 1) * step for length, step in zip(size, stride, strict=True))
