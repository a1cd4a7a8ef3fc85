"""The pass `lower.fold-constants`."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.fx import Node
from torch.fx.node import map_arg

from ...compiler.ir.aliasing import mutates, reaches_output
from ...compiler.ir.graph import insert_call
from ...compiler.ir.memory import fingerprint, view_key
from ...compiler.ir.operators import DEQUANTIZERS
from ...compiler.ir.program import Program
from ...compiler.pass_base import Context, Pass
from .constant_numbers import constant_numbers, write_numbers
from .constant_sizes import write_sizes
from .values import is_pure, remove_dead, same_sizes, static_bytes, tensor_of

aten = torch.ops.aten

_UNDEFINED = frozenset({aten.empty.memory_format, aten.empty_strided.default})
"""Results that are whatever the memory held: zeros do for what is computed of them."""

_LOOKED_AT = 128
"""How much may be computed of results that are too large to be stored, in parts of what may be."""


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Evaluate what depends on parameters, buffers and literals only.

    A result is stored as a constant of the program if it takes at most `max_bytes`, or no more than the constants that
    it is computed from: casting or transposing a weight is folded, expanding one is not. Equal small results are
    stored once. Weights that are dequantised stay in the few bits that they are stored in. A larger mask that is True
    everywhere, or False, is written as `full`. A number that is made of constants, as by `buffer.item()`, is written
    into the calls that take it, and tensors of such a size are traced again. Random results, sizes that are known at
    run time only, and outputs of the program stay as they are.

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
        if mutates(program.graph):
            return program  # views of a constant that is written to are no constants, nor is what is read of them
        while self._fold(program):
            pass
        return program

    def _fold(self, program: Program) -> bool:
        """Evaluate what depends on constants; whether there may be more of it then, as sizes became known."""
        nodes = program.nodes_by_name
        known: dict[Node, Any] = {nodes[name]: tensor for name, tensor in program.constants.items()}
        read = {node: frozenset({node}) for node in known}
        large: dict[Node, Any] = {}
        looked_at = 0
        with torch.no_grad():
            for node in program.op_nodes:
                if node.target in _UNDEFINED and static_bytes(node.meta["val"]) in range(self.max_bytes + 1):
                    # Tables are made by filling one. It is not stored.
                    large[node], read[node] = _zeros(node.meta["val"]), frozenset()
                values = ChainMap(known, large)
                if not _is_foldable(node, values):
                    continue
                weights = frozenset().union(*(read[source] for source in node.all_input_nodes))
                size = sum(_bytes(value) for value in _tensors(node.meta["val"]))
                if self._fits(size, weights):
                    value, group = _evaluate(node, values), known
                elif not weights and looked_at + size <= _LOOKED_AT * self.max_bytes:
                    # Too large to be stored, but what is made of it may be small, or the same everywhere.
                    value, group = _evaluate(node, values), large
                    looked_at += size
                else:
                    continue
                if value is not None:
                    group[node], read[node] = value, weights
        has_new_sizes = write_sizes(program, known)
        write_numbers(program, constant_numbers(program.graph, known))
        _store(program, {node: value for node, value in known.items() if node.op == "call_function"}, read)
        _fill(program, large)
        remove_dead(program.graph)
        return has_new_sizes

    def _fits(self, size: int, weights: Iterable[Node]) -> bool:
        """Whether a result is small, or no larger than the program's constants that it is computed from."""
        return size <= max(self.max_bytes, sum(_bytes(weight.meta["val"]) for weight in weights))


def _is_foldable(node: Node, known: Mapping[Node, Any]) -> bool:
    return (
        is_pure(node)
        and node.target not in _UNDEFINED
        and node.target not in DEQUANTIZERS
        and all(source in known for source in node.all_input_nodes)
        and bool(_tensors(node.meta.get("val")))
        and all(static_bytes(value) is not None for value in _tensors(node.meta["val"]))
        and not reaches_output(node)
    )


def _evaluate(node: Node, known: Mapping[Node, Any]) -> Any:
    """What a node yields, in the layout that its readers expect; None if it is not what was traced, or it fails."""
    args, kwargs = map_arg((node.args, node.kwargs), lambda source: known[source])
    try:
        value = node.target(*args, **kwargs)  # type: ignore[operator]
        return _as_traced(node.meta["val"], value) if _agrees(node.meta["val"], value) else None
    except Exception:
        # What cannot be computed now, for want of memory, a kernel or valid arguments, is left for the model's calls.
        return None


def _zeros(fake: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(fake.shape, fake.stride(), dtype=fake.dtype, device=fake.device).zero_()


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


def _fill(program: Program, large: Mapping[Node, Any]) -> None:
    """Write large masks that are True everywhere, or False, as that: no layer of a network may compute with them."""
    for node, value in large.items():
        fake = tensor_of(node)
        if fake is None or fake.dtype is not torch.bool or node.target is aten.full.default or not node.users:
            continue
        first = bool(value.flatten()[0])
        if bool((value == first).all()):
            options = {"dtype": torch.bool, "device": fake.device}
            with program.graph.inserting_before(node):
                filled = insert_call(program.graph, aten.full.default, (list(fake.shape), first), options, like=node)
            node.replace_all_uses_with(filled)


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
