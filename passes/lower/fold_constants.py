"""The pass `lower.fold-constants`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.fx import Node
from torch.fx.node import map_arg

from ...compiler.ir.aliasing import reaches_output
from ...compiler.ir.memory import fingerprint, view_key
from ...compiler.ir.program import Program
from ...compiler.pass_base import Context, Pass
from .constant_numbers import constant_numbers, write_numbers
from .values import is_pure, remove_dead, same_sizes, static_bytes, tensor_of

_UNDEFINED = frozenset({torch.ops.aten.empty.memory_format, torch.ops.aten.empty_strided.default})
"""Results that are whatever the memory held."""


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Evaluate what depends on parameters, buffers and literals only.

    A result is stored as a constant of the program if it takes at most `max_bytes`, or no more than the constants that
    it is computed from: casting or transposing a weight is folded, expanding one is not. Equal small results are
    stored once. A number that is made of constants, as by `buffer.item()`, is written into the calls that take it.
    Random results, sizes that are known at run time only, and outputs of the program stay as they are.

    Before:
        %full = aten.full([4], 2.0, device=cpu, pin_memory=False) : f32[4]
        %mul = aten.mul.Tensor(%p_w, %full) : f32[4]
        %add = aten.add.Tensor(%x, %mul) : f32[4]
    After:
        %add = aten.add.Tensor(%x, %c_mul) : f32[4]
    """

    name: ClassVar[str] = "lower.fold-constants"

    max_bytes: int = 1 << 20

    def run(self, program: Program, ctx: Context) -> Program:
        """Edit the graph in place."""
        nodes = program.nodes_by_name
        known: dict[Node, Any] = {nodes[name]: tensor for name, tensor in program.constants.items()}
        read = {node: frozenset({node}) for node in known}
        with torch.no_grad():
            for node in program.op_nodes:
                if not _is_foldable(node, known):
                    continue
                weights = frozenset().union(*(read[source] for source in node.all_input_nodes))
                value = _evaluate(node, known) if self._fits(node, weights) else None
                if value is not None:
                    known[node], read[node] = value, weights
        write_numbers(program, constant_numbers(program.graph, known))
        _store(program, {node: value for node, value in known.items() if node.op == "call_function"}, read)
        remove_dead(program.graph)
        return program

    def _fits(self, node: Node, weights: Iterable[Node]) -> bool:
        """Whether the result is small, or no larger than the program's constants that it is computed from."""
        size = sum(_bytes(value) for value in _tensors(node.meta["val"]))
        return size <= max(self.max_bytes, sum(_bytes(weight.meta["val"]) for weight in weights))


def _is_foldable(node: Node, known: dict[Node, Any]) -> bool:
    return (
        is_pure(node)
        and node.target not in _UNDEFINED
        and all(source in known for source in node.all_input_nodes)
        and bool(_tensors(node.meta.get("val")))
        and all(static_bytes(value) is not None for value in _tensors(node.meta["val"]))
        and not reaches_output(node)
    )


def _evaluate(node: Node, known: dict[Node, Any]) -> Any:
    """What a node yields, in the layout that its readers expect; None if it is not what was traced, or it fails."""
    args, kwargs = map_arg((node.args, node.kwargs), lambda source: known[source])
    try:
        value = node.target(*args, **kwargs)  # type: ignore[operator]
        return _as_traced(node.meta["val"], value) if _agrees(node.meta["val"], value) else None
    except Exception:
        # What cannot be computed now, for want of memory, a kernel or valid arguments, is left for the model's calls.
        return None


def _as_traced(expected: Any, value: Any) -> Any:
    """The value with the strides of what was traced: a reader such as `view` may be valid for those only."""
    if not isinstance(value, torch.Tensor):
        return type(value)(map(_as_traced, expected, value)) if type(value) in (list, tuple) else value
    if value.layout is not torch.strided or same_sizes(expected.stride(), value.stride()):
        return value
    return torch.empty_strided(value.shape, expected.stride(), dtype=value.dtype, device=value.device).copy_(value)


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, list | tuple) and all(isinstance(item, torch.Tensor) for item in value):
        return list(value)
    return []


def _bytes(tensor: torch.Tensor) -> int:
    return static_bytes(tensor) or 0


def _agrees(expected: Any, value: Any) -> bool:
    pairs = list(zip(_tensors(expected), _tensors(value), strict=False))
    return len(pairs) == len(_tensors(expected)) and all(
        same_sizes(fake.shape, real.shape) and fake.dtype == real.dtype for fake, real in pairs
    )


def _store(program: Program, folded: dict[Node, Any], read: Mapping[Node, Iterable[Node]]) -> None:
    stored: dict[Any, Node] = {}
    for node, value in folded.items():
        readers = [user for user in node.users if user not in folded]
        if not readers or not isinstance(value, torch.Tensor) or tensor_of(node) is None:
            continue
        key = _content(value)
        constant = stored.get(key) or program.add_constant(node.name, value, read[node])
        stored[key] = constant
        for reader in readers:
            reader.replace_input_with(node, constant)


def _content(tensor: torch.Tensor) -> Hashable:
    """A key that tensors share if they hold the same numbers in the same layout; large ones are compared by memory."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.numel() * tensor.element_size() > 1 << 16:
        return view_key(tensor)
    return tensor.dtype, tuple(tensor.shape), tensor.stride(), tensor.device, fingerprint(tensor)
