"""Writes to caches of keys and values as one operator, which an engine can do in the memory of the cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy
import torch
from torch.export.graph_signature import OutputKind
from torch.fx import Node

from ...compiler.ir.graph import insert_call
from ...compiler.ir.operators import WRITE_ROWS
from ...compiler.ir.program import Program, is_symbolic
from ...compiler.ir.symbol_ranges import symbol_ranges
from ...compiler.ir.symbols import Range, at_least, dims_of, expression, same, simplified

aten = torch.ops.aten

_ROWS = 2
"""The dimension of places: caches are [batch, heads, places, width]."""

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_OUTSIDE = "rows are written to a cache outside of its places"


def unite_cache_writes(program: Program, whole: bool) -> Program:
    """Replace writes of consecutive rows to caches that the program mutates by `trt_passes.write_rows`, in place.

    Where it cannot be told that all places are inside, one assertion for the whole program asks for it at run time;
    until then rows go to places that are inside.

    Args:
        program: functional; changed in place.
        whole: nothing shall stay in PyTorch, also no assertion: leave such writes as they are.
    """
    written = _mutations(program)
    ranges = symbol_ranges(program) if written else {}
    checks = []
    for node in list(program.op_nodes):
        if node.name in written:
            found = _consecutive(node, written[node.name], ranges)
            if found is not None and not (whole and isinstance(found[2], Node)):
                checks += _replace(node, *found)
    _assert(program, checks)
    return program


def _mutations(program: Program) -> dict[str, str]:
    """The nodes that are new values of buffers or arguments, with the placeholders of these."""
    signature = program.exported.graph_signature
    inputs = {str(spec.target): spec.arg.name for spec in signature.input_specs if spec.target is not None}
    found: dict[str, str] = {}
    for spec in signature.output_specs:
        if spec.kind is OutputKind.BUFFER_MUTATION:
            found[spec.arg.name] = inputs.get(str(spec.target), "")
        elif spec.kind is OutputKind.USER_INPUT_MUTATION:
            found[spec.arg.name] = str(spec.target)
    return found


def _consecutive(node: Node, placeholder: str, ranges: Mapping[sympy.Symbol, Range]) -> tuple[Node, Node, Any] | None:
    """The cache, the rows and their first place (a node or a number) of such a write; None if it is another one."""
    cache = node.args[0] if node.args else None
    if not isinstance(cache, Node) or cache.name != placeholder or cache.op != "placeholder":
        return None
    whole = cache.meta["val"]
    if whole.dim() != 4 or whole.dtype not in _FLOATS or not all(isinstance(size, int) for size in whole.shape[1:]):
        return None
    if node.target is aten.index_put.default:
        rows, start = _indexed(node)
        readers = {node}
    elif node.target is aten.slice_scatter.default:
        rows, start = _sliced(node, whole)
        readers = {node, *(user for user in cache.users if user.target is aten.slice.Tensor and _only_copied(user))}
    else:
        return None
    if rows is None or start is None or any(user not in readers and not is_symbolic(user) for user in cache.users):
        return None
    value = rows.meta["val"]
    wanted = (*dims_of(whole.shape)[:_ROWS], dims_of(value.shape)[_ROWS] if value.dim() == 4 else 0, whole.shape[3])
    fits = value.dim() == 4 and all(map(same, dims_of(value.shape), wanted)) and value.dtype == whole.dtype
    room = simplified(sympy.sympify(whole.shape[_ROWS] - expression(value.shape[_ROWS]))) if fits else -1
    return (cache, rows, start) if fits and at_least(room, 0, ranges) else None


def _indexed(node: Node) -> tuple[Node | None, Any]:
    """The rows, and their first place, of `cache[:, :, places] = rows`."""
    places: Any = node.args[1]
    rows: Any = node.args[2]
    accumulates = node.args[3] if len(node.args) > 3 else node.kwargs.get("accumulate", False)
    if accumulates or len(places) != _ROWS + 1 or any(item is not None for item in places[:_ROWS]):
        return None, None
    index = places[_ROWS]
    value = index.meta["val"] if isinstance(index, Node) else None
    if value is None or value.dim() != 1 or value.dtype not in (torch.int64, torch.int32):
        return None, None
    return rows, index if isinstance(value.shape[0], int) and value.shape[0] == 1 else _first_of(index)


def _first_of(index: Node) -> Any:
    """What is added to 0, 1, 2 and so on, a tensor of one element or a number; None if that is not told."""
    if index.target is aten.arange.start_step:
        step = index.args[2] if len(index.args) > 2 else 1
        return index.args[0] if step == 1 else None
    if index.target is not aten.add.Tensor or index.kwargs:
        return None
    for counted, added in (index.args, index.args[::-1]):
        if not isinstance(counted, Node) or counted.target is not aten.arange.start_step or _first_of(counted) != 0:
            continue
        value = added.meta["val"] if isinstance(added, Node) else added
        if isinstance(value, int) or (isinstance(value, torch.Tensor) and list(value.shape) in ([], [1])):
            return added
    return None


def _sliced(node: Node, whole: torch.Tensor) -> tuple[Node | None, Any]:
    """The rows, and their first place, of `cache[:, :, 2:5] = rows` with numbers that are inside."""
    source, dim, start, _, step = (*node.args[1:], *(None,) * 5)[:5]
    if not isinstance(source, Node) or dim != _ROWS or step not in (None, 1) or node.kwargs:
        return None, None
    start = 0 if start is None else start
    if not isinstance(start, int) or not 0 <= start < whole.shape[_ROWS]:
        return None, None
    rows: Any = source.args[1] if source.target is aten.copy.default else source
    count = rows.meta["val"].shape[_ROWS] if rows.meta["val"].dim() == 4 else None
    return (rows, start) if isinstance(count, int) and start + count <= whole.shape[_ROWS] else (None, None)


def _only_copied(part: Node) -> bool:
    """Whether a part of a cache is read for nothing but its shape."""
    return all(user.target is aten.copy.default and user.args[0] is part for user in part.users)


def _replace(node: Node, cache: Node, rows: Node, start: Any) -> list[Node]:
    """Put the operator in place of a write; booleans that must be True where that cannot be told before."""
    places, count = cache.meta["val"].shape[_ROWS], rows.meta["val"].shape[_ROWS]
    graph, checks = node.graph, list[Node]()

    def call(target: Any, *args: Any, **kwargs: Any) -> Node:
        return insert_call(graph, target, args, kwargs, like=node)

    with graph.inserting_before(node):
        if isinstance(start, Node) and isinstance(start.meta["val"], torch.Tensor):
            first = call(aten.view.default, start, [1])
            if first.meta["val"].dtype is not torch.int64:
                first = call(aten._to_copy.default, first, dtype=torch.int64)
            # Negative places count from the end.
            first = call(aten.where.self, call(aten.lt.Scalar, first, 0), call(aten.add.Tensor, first, places), first)
            size = count if isinstance(count, int) else call(aten.sym_size.int, rows, _ROWS)
            end = call(aten.add.Tensor, first, size)
            checks = [call(aten.ge.Scalar, first, 0), call(aten.le.Scalar, end, places)]
            over = call(aten.clamp.default, call(aten.sub.Tensor, end, places), 0)
            first = call(aten.clamp.default, call(aten.sub.Tensor, first, over), 0)
        else:
            first = call(aten.full.default, [1], start, dtype=torch.int64, device=cache.meta["val"].device)
        written = call(WRITE_ROWS, cache, rows, first)
    node.replace_all_uses_with(written)
    graph.erase_node(node)
    return checks


def _assert(program: Program, checks: list[Node]) -> None:
    if not checks:
        return
    graph = program.graph
    with graph.inserting_before(program.output_node):
        all_of = insert_call(graph, aten.cat.default, (checks,), like=checks[0]) if len(checks) > 1 else checks[0]
        holds = insert_call(graph, aten.all.default, (all_of,), like=checks[0])
        insert_call(graph, aten._assert_async.msg, (holds, _OUTSIDE), like=checks[0])
