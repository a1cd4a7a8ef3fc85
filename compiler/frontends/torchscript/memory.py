"""Which memory the values of an inlined TorchScript method may be, and which of its ops read and write it.

The analysis does not follow the order of ops: a value may be all that it is anywhere. It knows attributes by the memory
that they have now, what ops make by their names, and what loops hand from round to round. PyTorch's own takes all
attributes for one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .code import Code, Op
from .inlined import Inlined, module_of_value
from .twin import attribute_of
from .written_memory import QUIET_VIEWS

_PLAIN = frozenset({"IntType", "FloatType", "BoolType", "StringType", "NoneType", "NumberType", "ComplexType"}) | {
    *("DeviceObjType", "StreamObjType", "EnumType", "FunctionType", "GeneratorType", "QuantizerType", "LayoutType")
}
"""Types of values that are no memory."""

OF_SIZES = frozenset({f"aten::{name}" for name in ("size", "dim", "numel", "stride", "len", "is_floating_point")}) | {
    f"prim::{name}" for name in ("dtype", "device", "is_cuda", "is_cpu", "layout", "is_quantized", "requires_grad")
}
"""Operators that read of a tensor what writing numbers into it does not change."""

_RESHAPING = frozenset(
    f"aten::{name}_"
    for name in (
        *("resize", "resize_as", "set", "t", "transpose", "squeeze", "unsqueeze", "swapaxes", "swapdims", "as_strided"),
        *("rename", "detach", "resize_output", "sparse_resize", "_resize_output"),
    )
)
"""Operators that do change it."""

_OPAQUE = ("prim::CallMethod", "prim::CallFunction", "prim::fork", "prim::rpc_async", "prim::PythonOp")
_OWN = ("aten::", "prim::", "quantized::", "trt_passes::")


@dataclass(frozen=True)
class Memory:
    """Something that can be written to.

    Attributes:
        kind: "attribute" (of a module), "argument" (of the method), "made" (by an op), or "any", which is not known.
        key: the address, or the name of a value.
        is_tensor: whether it is a tensor's, or a container or an object.
    """

    kind: str
    key: Any
    is_tensor: bool = True


ANY = Memory("any", None)
"""What may be an attribute, an argument, or anything that was assigned or handed to what nothing is known of."""


class MemoryUse:
    """What of an inlined method may be the same memory.

    Args:
        model: the method.
        code: its graph.
        values: of the graph, by name.
        aliases: what PyTorch knows, which is asked about operators of other libraries.
    """

    def __init__(self, model: Inlined, code: Code, values: Mapping[str, Any], aliases: Any) -> None:
        self._model, self._code, self._values, self._aliases = model, code, values, aliases
        self._held: dict[str, set[Memory]] = {}
        self._contents: dict[Memory, set[Memory]] = {}
        self._slots: dict[tuple[str, str], set[Memory]] = {}
        for key, is_own in model.assigned_elsewhere():
            memory = Memory("attribute", ("assigned", *key)) if is_own else ANY
            self._slots.setdefault(key, set()).add(memory)
        self._names: dict[Memory, str] = {}
        self._shared: set[Memory] = set()
        self._changed = True
        self._ops = list(code.every_op())
        while self._changed:
            self._changed = False
            self._pass()
        self._writes = {op: frozenset(self._written_by(op)) for op in self._ops}
        self._reshapes = any(op.kind in _RESHAPING for op in self._ops)
        self._reads = {op: frozenset(self._read_by(op)) for op in self._ops}
        self._escape()
        self.written = frozenset(memory for found in self._writes.values() for memory in found)

    # --- questions ---
    def held(self, name: str) -> frozenset[Memory]:
        """What a value may be, and what may be in it."""
        return frozenset(self._reach(self._of(name)))

    def reads(self, op: Op) -> frozenset[Memory]:
        """What an op, or one in it, reads."""
        return frozenset(memory for part in _with_inner(op) for memory in self._reads[part])

    def follows(self, op: Op) -> frozenset[Memory]:
        """What an op reads or puts into a container: it stays after what writes to that before it.

        PyTorch removes a write to a tensor that is in a container already, and is read there only.
        """
        inside = (name for part in _with_inner(op) if part.kind.endswith("Construct") for name in part.inputs)
        return self.reads(op) | {memory for name in inside for memory in self.held(name)}

    def writes(self, op: Op) -> frozenset[Memory]:
        """What an op, or one in it, writes to."""
        return frozenset(memory for part in _with_inner(op) for memory in self._writes[part])

    def made(self, ops: Iterable[Op]) -> frozenset[Memory]:
        """What ops make themselves."""
        names = {name for op in ops for part in _with_inner(op) for name in part.outputs}
        return frozenset(m for kind in (True, False) for name in names for m in [Memory("made", name, kind)])

    def is_shared(self, memory: Memory) -> bool:
        """Whether memory lives on after a call, or before it: of attributes, arguments, and what is assigned."""
        return memory.kind != "made" or memory in self._shared

    def may_be(self, memories: Collection[Memory], others: Collection[Memory]) -> bool:
        """Whether some of these memories may be some of those."""
        if not set(memories).isdisjoint(others):
            return True
        pairs = ((memories, others), (others, memories))
        return any(ANY in known and any(map(self.is_shared, rest)) for known, rest in pairs)

    def tokens(self, memories: Iterable[Memory]) -> set[Any]:
        """What stands for memory in the order of ops: ops that have one of them in common keep theirs.

        What a caller gives may be what an attribute was, or what an earlier call gave.
        """
        found: set[Any] = set()
        for memory in memories:
            if memory.kind == "any":
                found |= {"given", *self._shared, *(m for m in self.written if self.is_shared(m))}
            elif memory.kind == "argument":
                found.add("given")
            elif memory in self.written and self.is_shared(memory):
                found |= {"given", memory}
            else:
                found.add(memory)
        return found

    def is_written(self, name: str) -> bool:
        """Whether something writes to what a value is, or to what is in it."""
        return self.may_be(self.held(name), self.written)

    def described(self, memory: Memory) -> str:
        """Memory in words, for a reason."""
        if memory.kind == "attribute":
            return f"the attribute {self._names[memory]!r}" if memory in self._names else "an attribute"
        if memory.kind == "argument":
            return f"the argument {memory.key.partition('.')[0]!r}"
        if memory.kind == "made":
            return "what TorchScript makes and keeps" if memory.is_tensor else "a list or an object of TorchScript's"
        return "what may be an attribute or an argument"

    # --- what values are ---
    def _of(self, name: str) -> set[Memory]:
        return self._held.setdefault(name, set())

    def _reach(self, memories: Iterable[Memory]) -> set[Memory]:
        found: set[Memory] = set()
        todo = list(memories)
        while todo:
            memory = todo.pop()
            if memory not in found:
                found.add(memory)
                todo += self._contents.get(memory, ())
        return found

    def _add(self, known: set[Memory], more: Iterable[Memory]) -> None:
        before = len(known)
        known.update(more)
        self._changed |= len(known) != before

    def _give(self, name: str, memories: Iterable[Memory]) -> None:
        """Let a value be these, as far as its type allows."""
        value = self._values[name].type()
        if may_be_memory(value):
            self._add(self._of(name), (memory for memory in memories if _fits(memory, value)))

    def _fill(self, containers: Iterable[Memory], memories: Iterable[Memory]) -> None:
        for container in containers:
            if not container.is_tensor:
                self._add(self._contents.setdefault(container, set()), memories)

    def _pass(self) -> None:
        for name in self._code.inputs[1:]:
            kind = self._values[name].type()
            inner = Memory("argument", name)
            self._give(name, [inner, Memory("argument", name, False)])
            if may_be_memory(kind):
                self._fill(self._of(name), [inner])
        for op in self._ops:
            self._follow(op)

    def _follow(self, op: Op) -> None:
        kind = op.kind
        if kind == "prim::Constant":
            self._follow_constant(op)
        elif kind == "prim::GetAttr":
            self._give(op.outputs[0], self._attribute(op))
        elif kind == "prim::SetAttr":
            self._assign(op)
        elif kind == "prim::CreateObject":
            self._give(op.outputs[0], [Memory("made", op.outputs[0], False)])
        elif kind == "prim::If":
            for block in op.blocks:
                for output, given in zip(op.outputs, block.outputs, strict=True):
                    self._give(output, self._of(given))
        elif kind == "prim::Loop":
            (body,) = op.blocks
            for place, output in enumerate(op.outputs):
                first, taken, last = op.inputs[2 + place], body.inputs[1 + place], body.outputs[1 + place]
                self._give(taken, self._of(first) | self._of(last))
                self._give(output, self._of(first) | self._of(last))
        elif self._is_opaque(op):
            inside = self._reach(memory for name in op.inputs for memory in self._of(name))
            for output in op.outputs:
                self._make(output, {*inside, ANY, Memory("made", output)})
        elif op.schema is None or len(op.schema.returns) != len(op.outputs):
            self._follow_plain(op)
        else:
            self._follow_schema(op)

    def _follow_constant(self, op: Op) -> None:
        tensors = [leaf for leaf in pytree.tree_leaves(op.value) if isinstance(leaf, torch.Tensor)]
        self._make(op.outputs[0], {memory for tensor in tensors for memory in _of_tensor(tensor)})

    def _follow_plain(self, op: Op) -> None:
        """What takes containers apart or puts them together, and hands on what is in them."""
        given = self._reach(memory for name in op.inputs for memory in self._of(name))
        for output in op.outputs:
            self._make(output, given)

    def _make(self, output: str, inside: set[Memory]) -> None:
        """A value that is, or has in it, any of these; a container may also be a new one."""
        own = Memory("made", output, False)
        self._give(output, {own, *inside})
        if own in self._of(output):
            self._fill([own], inside - {own})

    def _follow_schema(self, op: Op) -> None:
        schema = op.schema
        held = [self._of(name) for name in op.inputs]
        if _is_of_containers(op):
            inside = self._reach(memory for found in held for memory in found)
            if schema.is_mutable and held:
                rest = self._reach(memory for found in held[1:] for memory in found)
                self._fill(held[0], rest)
            for output in op.outputs:
                self._make(output, inside)
            return
        pairs = zip(held, schema.arguments, strict=False)  # there may be more, as of aten::format
        shared = {memory for found, item in pairs if item.alias_info is not None for memory in self._reach(found)}
        for output, item in zip(op.outputs, schema.returns, strict=True):
            fresh = {Memory("made", output)}
            is_view = item.alias_info is not None or _may_be_view(op.kind)
            given = shared if item.alias_info is not None else self._reach(m for found in held for m in found)
            self._make(output, {*given} if is_view else fresh)
            if is_view and not given:
                self._make(output, fresh)

    def _attribute(self, op: Op) -> set[Memory]:
        owner = self._values[op.inputs[0]]
        module = module_of_value(self._model, owner)
        if module is None:
            if self._model.is_object(owner.type()):
                return self._reach(self._of(op.inputs[0]))
            return {ANY, Memory("any", "container", False)}
        key = owner.type().annotation_str, op.name
        found = set(self._slots.get(key, ()))
        value = attribute_of(module, op.name)
        if isinstance(value, torch.nn.Module):
            return set()
        if not isinstance(value, torch.Tensor):
            container = Memory("attribute", key, False)
            self._names[container] = op.name
            found.add(container)
        inside = {
            memory
            for leaf in pytree.tree_leaves(value)
            if isinstance(leaf, torch.Tensor)
            for memory in _of_tensor(leaf)
        }
        self._names.update(dict.fromkeys(inside, op.name))
        self._fill(found, inside)
        return found | inside

    def _assign(self, op: Op) -> None:
        owner, given = op.inputs
        held = self._reach(self._of(given))
        kind = self._values[owner].type()
        if self._model.is_object(kind):
            self._fill(self._of(owner), held)
            return
        self._add(self._slots.setdefault((kind.annotation_str, op.name), set()), held)

    def _is_opaque(self, op: Op) -> bool:
        """Whether nothing is known of what an op does with memory."""
        if op.kind in _OPAQUE:
            return True
        if op.schema is None or op.kind.startswith(_OWN):
            return False
        return any(self._aliases.has_writers(self._values[name]) for name in (*op.inputs, *op.outputs))

    # --- what ops do ---
    def _written_by(self, op: Op) -> Iterator[Memory]:
        if op.kind == "prim::SetAttr":
            if self._model.is_object(self._values[op.inputs[0]].type()):
                yield from (memory for memory in self._of(op.inputs[0]) if not memory.is_tensor)
        elif op.kind in ("prim::Enter", "prim::Exit"):
            yield from self._of(op.inputs[0])
        elif self._is_opaque(op):
            if not self._model.is_pure(op.node):
                yield ANY
                yield from self._reach(memory for name in op.inputs for memory in self._of(name))
        elif op.schema is not None and op.schema.is_mutable:
            for name, item in zip(op.inputs, op.schema.arguments, strict=False):
                if item.alias_info is not None and item.alias_info.is_write:
                    held = self._of(name)
                    if "Tensor" in str(item.type):  # of a list, its tensors
                        held = {memory for memory in self._reach(held) if memory.is_tensor}
                    yield from held

    def _read_by(self, op: Op) -> Iterator[Memory]:
        if op.kind in ("prim::If", "prim::Loop", "prim::Constant"):
            return
        held = [memory for name in op.inputs for memory in self._of(name)]
        if op.kind == "prim::Print" or self._is_opaque(op):
            yield from ((ANY,) if op.kind != "prim::Print" else ())
            yield from self._reach(held)
            return
        if (op.kind in OF_SIZES and not self._reshapes) or op.schema is None or _is_of_containers(op):
            # a size, or a reference that is handed on: of the container alone
            yield from (memory for memory in held if not memory.is_tensor)
        else:
            yield from self._reach(held)

    def _escape(self) -> None:
        """Note what is shared with attributes, or with what is not known."""
        given = [memory for found in self._slots.values() for memory in found]
        for op in self._ops:
            if self._is_opaque(op):
                given += (memory for name in op.inputs for memory in self._of(name))
        containers = [memory for memory in self._contents if memory.kind != "made"]
        self._shared = self._reach([*given, *containers])


def may_be_memory(type: Any) -> bool:
    """Whether a value of a type can be written to, or have something in it that can."""
    kind = type.kind()
    if kind in _PLAIN or "__torch__.torch.classes." in type.annotation_str:  # packed weights are never written
        return False
    if kind in ("OptionalType", "TupleType"):
        return any(map(may_be_memory, type.containedTypes()))
    return True


def _fits(memory: Memory, type: Any) -> bool:
    kind = type.kind()
    if kind == "OptionalType":
        return _fits(memory, type.getElementType())
    if kind == "TensorType":
        return memory.is_tensor
    if kind in ("TupleType", "ListType", "DictType", "ClassType"):
        return not memory.is_tensor or memory == ANY
    return True


def _of_tensor(tensor: torch.Tensor) -> list[Memory]:
    try:
        address = tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return [Memory("attribute", id(tensor))]
    return [Memory("attribute", address or id(tensor))]


def _is_of_containers(op: Op) -> bool:
    """Whether an operator is one on containers of anything."""
    return any(_is_generic(item.type) for item in (*op.schema.arguments, *op.schema.returns))


def _is_generic(type: Any) -> bool:
    return type.kind() == "VarType" or any(map(_is_generic, type.containedTypes()))


def _may_be_view(kind: str) -> bool:
    """Whether an operator may give what it was given, though its schema does not say so."""
    return kind in QUIET_VIEWS


def _with_inner(op: Op) -> Iterator[Op]:
    yield op
    for block in op.blocks:
        yield from block.every_op()
