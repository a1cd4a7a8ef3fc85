"""Which ops of an inlined graph could be one Program: straight-line regions, and control flow that is pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .code import Code, Op, free_names, read_code
from .inlined import Inlined
from .memory import Memory, MemoryUse
from .native import may_be_native
from .quantised import is_quantised_kind
from .twin import attributes
from .values import VALUES
from .written_memory import written_in_place

_COMPOUND = ("prim::If", "prim::Loop")
_NUMBERS = ("IntType", "FloatType", "BoolType")
_PURE = ("prim::TupleUnpack", "prim::ListUnpack", "prim::TupleSlice", "prim::RaiseException", "prim::Constant")
_SWITCHES = ("train", "training", "dropout", "dropout_p", "p")
"""Arguments of operators that make random numbers, unless they are False or 0."""

_CLONED = ("prim::ListConstruct", "prim::TupleConstruct")


class Outside(Exception):
    """An op takes what no Program can be given; the message is a clause about the op."""

    def __init__(self, op: Op, reason: str) -> None:
        self.op = op
        super().__init__(reason)


@dataclass(frozen=True, eq=False)
class Region:
    """Ops that run together.

    Attributes:
        ops: in an order in which they can run.
        pulled: ops outside that are repeated inside: constants, attributes that nothing assigns, sizes.
        tensors, numbers: names of values that come from outside; a number has to be the one that was seen.
        outputs: names of tensors that are used outside.
        copied: those of them that are written to outside.
    """

    ops: tuple[Op, ...]
    pulled: tuple[Op, ...]
    tensors: tuple[str, ...]
    numbers: tuple[str, ...]
    outputs: tuple[str, ...]
    copied: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many operators on tensors it has."""
        inner = (part for op in self.ops for part in (op, *(p for block in op.blocks for p in block.every_op())))
        return sum(is_tensor_op(op) and op.kind not in _COMPOUND for op in inner)


@dataclass
class Graph:
    """An inlined graph with what is known about its values."""

    model: Inlined
    code: Code = field(init=False)
    makers: dict[str, Op] = field(init=False, default_factory=dict)
    values: dict[str, Any] = field(init=False, default_factory=dict)
    written: set[tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.code = read_code(graph)
        self.root = self.code.inputs[0]
        self.written = set(attributes(self.model.script, "prim::SetAttr"))
        self.makers = {name: op for op in self.code.every_op() for name in op.outputs}
        self.values = dict(_values(graph))
        self.memory = MemoryUse(self.model, self.code, self.values, graph.alias_db())
        self.written |= written_in_place(self.model.script)
        self._writers = [op for op in self.code.every_op() if not op.blocks and self.memory.writes(op)]
        self._free: dict[Op, bool] = {}

    @property
    def is_cast(self) -> bool:
        """Whether the code enters torch.autocast."""
        entered = (op.inputs[0] for op in self.code.every_op() if op.kind == "prim::Enter")
        return any("autocast" in self.values[name].type().annotation_str for name in entered)

    def kind(self, name: str) -> str:
        """The kind of a value's type, such as "TensorType"."""
        kind: str = self.values[name].type().kind()
        return kind

    def is_written(self, name: str) -> bool:
        """Whether something writes to the memory of a value; packed weights are never written."""
        return name != self.root and not self._is_packed(name) and self.memory.is_written(name)

    def _is_packed(self, name: str) -> bool:
        """Whether a value is packed weights, which only the layer's own methods for loading files assign."""
        return "__torch__.torch.classes." in self.values[name].type().annotation_str

    def is_free(self, op: Op) -> bool:
        """Whether it is a constant, or an attribute that nothing assigns."""
        if op not in self._free:
            self._free[op] = self._is_free(op)
        return self._free[op]

    def _is_free(self, op: Op) -> bool:
        if op.kind == "prim::GetAttr":
            owner = self.values[op.inputs[0]].type().annotation_str
            known = op.inputs[0] == self.root or (
                op.inputs[0] in self.makers and self.is_free(self.makers[op.inputs[0]])
            )
            kept = (owner, op.name) not in self.written or self._is_packed(op.outputs[0])
            return known and kept and not self.is_written(op.outputs[0])
        return op.kind == "prim::Constant" and self.kind(op.outputs[0]) != "FunctionType"

    def fault(self, op: Op) -> str | None:
        """Why an op, with all that is in it, cannot be part of a Program; None if it may."""
        for inner in (op, *(part for block in op.blocks for part in block.every_op())):
            problem = None if self.is_free(inner) else self.own_fault(inner)
            if problem is not None:
                return problem
        return None

    def own_fault(self, op: Op) -> str | None:
        """The same of an op without what is in it."""
        if op.kind == "prim::CallMethod":
            said = self.model.kept.get(op.outputs[0] if op.outputs else "")
            if said:
                return f"it calls a module that torch_executed_modules names: {said}"
            type = self.values[op.inputs[0]].type()
            return (
                "it calls an interface" if type.is_interface_type() else f"it calls an object of {type.annotation_str}"
            )
        if op.kind in ("prim::GetAttr", "prim::SetAttr"):
            is_own = self.model.is_object(self.values[op.inputs[0]].type())
            return None if is_own else f"the attribute {op.name!r} is state"
        if op.kind == "prim::CreateObject" and self.model.is_object(self.values[op.outputs[0]].type()):
            return None
        foreign = next((memory for memory in self.memory.writes(op) if memory.kind != "made"), None)
        if foreign is not None:
            return f"it writes to {self.memory.described(foreign)} in place"
        if op.kind in (*_COMPOUND, *_PURE):
            return None
        if op.schema is None:
            return None if op.kind in VALUES else f"{op.kind} is TorchScript's own"
        if op.node.isNondeterministic() and not self._is_off(op):
            return "it makes random numbers"
        if not op.kind.startswith(("aten::", "prim::")) and not is_quantised_kind(op.kind):
            return f"{op.kind} has no counterpart in PyTorch's graphs"
        if torch._C._dispatch_has_kernel(f"{op.schema.name}.{op.schema.overload_name}".rstrip(".")):
            return None
        return None if op.kind in VALUES or may_be_native(op) else f"{op.kind} is TorchScript's own"

    def _is_off(self, op: Op) -> bool:
        """Whether an operator leaves nothing to chance, as dropout does outside of training."""
        for name, argument in zip(op.inputs, op.schema.arguments, strict=True):
            maker = self.makers.get(name)
            known = maker is not None and maker.kind == "prim::Constant"
            if known and argument.name in _SWITCHES and maker is not None and not maker.value:
                return True
        return False

    def region(self, ops: Sequence[Op], used: frozenset[str]) -> Region:
        """The region of ops; `used` are names of values that something else reads.

        Raises:
            Outside: an op takes or gives what cannot cross the border.
        """
        made = {name for op in ops for name in op.outputs}
        own, writes = self._own_memory(ops)
        found = _Found(self)
        for name in free_names(tuple(ops)):
            user = next(op for op in ops if name in _reads(op))
            if not found.add(name):
                raise Outside(user, f"it takes {_a(self.kind(name))} that TorchScript makes")
        for name in found.tensors:
            if self.memory.may_be(self.memory.held(name), writes):
                writer = next(op for op in ops if self.memory.may_be(self.memory.writes(op), self.memory.held(name)))
                raise Outside(writer, "it writes in place to what it may have been given")
        outputs = []
        for op in ops:
            for name in op.outputs:
                if name in used and self.kind(name) == "TensorType":
                    outputs.append(name)
                elif name in used and not self.is_cloned(op):
                    raise Outside(op, f"it makes {_a(self.kind(name))} that TorchScript uses")
                elif name in used:
                    outputs += self._tensors_behind(op, made)
        pulled = tuple(op for op in found.pulled if not made & set(op.outputs))
        given = tuple(dict.fromkeys(outputs))
        if any(op.kind == "prim::Loop" for op in ops):
            # A branch that gives what a loop in it reads, and then what the loop makes, loses the former in the second
            # round where PyTorch interprets it without optimization, as in the first calls.
            given = given[::-1]
        copied = self._copied(ops, given, own)
        return Region(tuple(ops), pulled, tuple(found.tensors), tuple(found.numbers), given, copied)

    def _own_memory(self, ops: Sequence[Op]) -> tuple[frozenset[Memory], frozenset[Memory]]:
        """What ops make, and what of it they write to.

        Raises:
            Outside: they write to anything else.
        """
        own = self.memory.made(ops)
        for op in ops:
            other = next(iter(self.memory.writes(op) - own), None)
            if other is not None:
                raise Outside(op, f"it writes to {self.memory.described(other)} in place")
        return own, frozenset(memory for op in ops for memory in self.memory.writes(op))

    def _copied(self, ops: Sequence[Op], outputs: Sequence[str], own: frozenset[Memory]) -> tuple[str, ...]:
        """Outputs that are written to outside.

        Raises:
            Outside: one is a view of what is written to, which an engine's output would not be.
        """
        inside = {part for op in ops for part in (op, *(p for block in op.blocks for p in block.every_op()))}
        later = frozenset(m for op in self._writers if op not in inside for m in self.memory.writes(op))
        found: dict[Memory, str] = {}
        for name in outputs:
            maker = next(op for op in ops if name in op.outputs)
            held = self.memory.held(name)
            if self.memory.may_be(held - own, self.memory.written):
                raise Outside(maker, "what it makes may be a view of what is written to in place")
            for memory in (memory for memory in held & own if self.memory.may_be([memory], later)):
                if found.setdefault(memory, name) != name:
                    raise Outside(maker, "what it makes may be the same memory as what TorchScript writes to in place")
        return tuple(dict.fromkeys(found.values()))

    def is_cloned(self, op: Op) -> bool:
        """Whether an op is so cheap that it is repeated outside of its region, from the region's tensors."""
        types = [self.values[name].type() for name in op.outputs]
        if op.blocks or not types or (op.kind not in _CLONED and any(map(_has_tensors, types))):
            return False
        if self.memory.writes(op) or self.memory.may_be(self.memory.reads(op), self.memory.written):
            return False  # it would read what is written meanwhile
        return not any(self.kind(name) != "TensorType" and self._is_changed(name) for name in op.outputs)

    def _is_changed(self, name: str) -> bool:
        """Whether a container is changed, and not only the tensors in it."""
        own = [memory for memory in self.memory.held(name) if not memory.is_tensor]
        return self.memory.may_be(own, self.memory.written)

    def _tensors_behind(self, op: Op, made: set[str]) -> list[str]:
        """Tensors of a region that an op which is repeated outside reads, through others of its kind."""
        found: list[str] = []
        for name in op.inputs:
            if name in made and self.kind(name) == "TensorType":
                found.append(name)
            elif name in made:
                maker = self.makers[name]
                if not self.is_cloned(maker):
                    raise Outside(maker, f"it makes {_a(self.kind(name))} that TorchScript uses")
                found += self._tensors_behind(maker, made)
        return found


class _Found:
    """Collects what a region takes from outside."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.pulled: dict[Op, None] = {}
        self.tensors: dict[str, None] = {}
        self.numbers: dict[str, None] = {}

    def add(self, name: str) -> bool:
        graph = self.graph
        if name == graph.root:
            return True
        maker = graph.makers.get(name)
        if maker is not None and graph.is_free(maker):
            fits = all(map(self.add, maker.inputs))
            self.pulled[maker] = None
            return fits
        if graph.kind(name) == "TensorType":
            self.tensors[name] = None
            return True
        if maker is not None and graph.is_cloned(maker) and graph.fault(maker) is None:
            before = dict(self.tensors), dict(self.numbers), dict(self.pulled)
            if all(map(self.add, maker.inputs)):
                self.pulled[maker] = None
                return True
            self.tensors, self.numbers, self.pulled = before
        if graph.kind(name) in _NUMBERS:
            self.numbers[name] = None
            return True
        return False


def scheduled(graph: Graph, block: Code, left: Mapping[Op, str]) -> list[list[Op]]:
    """The ops of a block in another order in which they can run, as groups: those that may be regions are together.

    Args:
        left: ops that stay where they are.
    """
    free = [op for op in block.ops if graph.is_free(op)]
    rest = [op for op in block.ops if op not in set(free)]
    needs = _needs(graph, rest, left)
    groups, done = [free], set[Op]()
    while rest:
        first = next((op for op in rest if op in left), None)
        while first is not None and needs[first] <= done:
            groups.append([first])
            done.add(first)
            rest.remove(first)
            first = next((op for op in rest if op in left), None)
        group = []
        for op in rest:
            if op not in left and needs[op] <= done:
                group.append(op)
                done.add(op)
        inside = _trimmed(graph, group)
        groups += [inside, *([op] for op in group if op not in set(inside))]
        rest = [op for op in rest if op not in done]
    return [group for group in groups if group]


def _needs(graph: Graph, ops: Sequence[Op], left: Mapping[Op, str]) -> dict[Op, set[Op]]:
    makers = {name: op for op in ops for name in op.outputs}
    found, barrier = {}, None
    memory = graph.memory
    written = memory.tokens(memory.written)
    writer: dict[Any, Op] = {}
    readers: dict[Any, set[Op]] = {}
    for op in ops:
        found[op] = {makers[name] for name in _reads(op) if name in makers}
        reads = memory.tokens(memory.follows(op)) & written
        writes = memory.tokens(memory.writes(op))
        found[op] |= {writer[token] for token in reads | writes if token in writer}
        found[op] |= {reader for token in writes for reader in readers.get(token, ())} - {op}
        for token in reads:
            readers.setdefault(token, set()).add(op)
        for token in writes:
            writer[token], readers[token] = op, set()
        if op not in left and barrier is not None:
            found[op].add(barrier)
        if op in left and any(part.kind == "prim::RaiseException" for b in op.blocks for part in b.every_op()):
            barrier = op
    return found


def _trimmed(graph: Graph, ops: Sequence[Op]) -> list[Op]:
    """The operators on tensors of a group, and what they need of it, or must not follow."""
    needed: set[str] = set()
    read: set[Memory] = set()
    written: set[Memory] = set()
    kept = []
    memory = graph.memory
    for op in reversed(ops):
        reads, writes = memory.follows(op), memory.writes(op)
        tied = memory.may_be(writes, read | written) or memory.may_be(reads, written)
        if is_tensor_op(op) or needed & set(op.outputs) or tied:
            kept.append(op)
            needed.update(_reads(op))
            read |= reads
            written |= writes
    return kept[::-1]


def is_tensor_op(op: Op) -> bool:
    """Whether an op computes tensors, other than by taking containers apart."""
    if op.kind not in _COMPOUND and (op.schema is None or op.kind.startswith("prim::")):
        return False
    return any(_has_tensors(value.type()) for value in op.node.outputs())


def _has_tensors(type: Any) -> bool:
    if type.kind() == "TensorType":
        return True
    return any(map(_has_tensors, type.containedTypes()))


def _reads(op: Op) -> set[str]:
    return {*op.inputs, *(name for block in op.blocks for name in block.free)}


def _values(block: Any) -> Iterator[tuple[str, Any]]:
    yield from ((value.debugName(), value) for value in block.inputs())
    for node in block.nodes():
        yield from ((value.debugName(), value) for value in node.outputs())
        for inner in node.blocks():
            yield from _values(inner)


def _a(kind: str) -> str:
    word = kind.removesuffix("Type").lower()
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
