"""Tensors that a model writes to and that are no buffers of it: plain attributes, and what other objects hold."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec
from torch.fx import Node

from ..errors import UserError
from ..ir.graph import sync_signature
from ..ir.memory import memory_of
from ..ir.program import copy_graph, rebuild


def written_constants_as_buffers(exported: ExportedProgram) -> ExportedProgram:
    """The program, from torch.export, with such tensors as buffers: those that the model has of them, else new ones.

    torch.export takes them for constants, one each time that they are read, where a write would stay an operator that
    works in place; writes to buffers become results of the program, so that no read is moved past them.

    Raises:
        UserError: the model writes to such a tensor, and has another that is a view of it.
    """
    specs, nodes = exported.graph_signature.input_specs, {node.name: node for node in exported.graph.nodes}
    written = {memory for node in exported.graph.nodes for memory in _written_memories(node)}
    state = [spec for spec in specs if spec.kind in (InputKind.BUFFER, InputKind.CONSTANT_TENSOR)]
    storages = {_storage(exported, spec) for spec in state if _memory(nodes[spec.arg.name]) in written}
    shared = [spec for spec in state if _storage(exported, spec) in storages]
    if all(spec.kind is InputKind.BUFFER for spec in shared):
        return exported
    exported = rebuild(exported, copy_graph(exported.graph))
    specs, nodes = exported.graph_signature.input_specs, {node.name: node for node in exported.graph.nodes}
    first: dict[int, InputSpec] = {}
    for spec in shared:
        owner = first.setdefault(_storage(exported, spec), spec)
        if _place(exported, owner) != _place(exported, spec):
            raise UserError(
                f"the model writes to a tensor that it has as {owner.target!r} and, as another view of it, as "
                f"{spec.target!r}: keep one of them, as a buffer (register_buffer)."
            )
        if owner is not spec:
            nodes[spec.arg.name].replace_all_uses_with(nodes[owner.arg.name])
        elif spec.kind is InputKind.CONSTANT_TENSOR:
            specs[specs.index(spec)] = replace(spec, kind=InputKind.BUFFER, persistent=False)
    return sync_signature(exported)


def _written_memories(node: Node) -> Iterator[int]:
    if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
        for argument, value in zip(node.target._schema.arguments, node.args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, Node):
                yield _memory(value)


def _memory(node: Node) -> int:
    value = node.meta.get("val")
    return memory_of(value) if isinstance(value, torch.Tensor) else 0


def _tensor(exported: ExportedProgram, spec: InputSpec) -> torch.Tensor:
    name = str(spec.target)
    tensor = exported.state_dict[name] if name in exported.state_dict else exported.constants[name]
    assert isinstance(tensor, torch.Tensor)
    return tensor


def _storage(exported: ExportedProgram, spec: InputSpec) -> int:
    return memory_of(_tensor(exported, spec))


def _place(exported: ExportedProgram, spec: InputSpec) -> Hashable:
    """Where in its memory a tensor lies, and what the elements are."""
    tensor = _tensor(exported, spec)
    return tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
