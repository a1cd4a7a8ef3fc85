"""A part of a program as a module of its own: a few operators, what enters them, and what PyTorch makes of it."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from ..compiler.errors import UserError
from ..compiler.frontends.exported_program import trace
from ..compiler.ir.dependencies import producer_of
from ..compiler.ir.input import Input
from ..compiler.ir.program import Program, bodies_of, is_getitem, is_symbolic
from ..compiler.ir.symbol_ranges import symbol_ranges
from ..compiler.ir.symbols import UnderivableSize, dim_range, dims_of


@dataclass(frozen=True)
class Part:
    """Some operators of a program as a module.

    Attributes:
        nodes: names of the operators' nodes, in graph order.
        module: takes `inputs`, and returns a tuple of what the nodes `outputs` yield; constants are its buffers.
        inputs: the values that enter it, by the name of their node.
        declared: the same as declarations, with the ranges of sizes that vary; None for what is no tensor.
        outputs: names of the nodes whose values it returns.
        expected: those values, as PyTorch computes them from `inputs`.
    """

    nodes: tuple[str, ...]
    module: GraphModule = field(repr=False)
    inputs: Mapping[str, Any] = field(repr=False)
    declared: Mapping[str, Input | None] = field(repr=False)
    outputs: tuple[str, ...]
    expected: tuple[torch.Tensor, ...] = field(repr=False)

    def program(self) -> Program:
        """The part, exported: for the declared sizes if that can be done, else for those of `inputs`.

        Raises:
            UserError: it cannot be exported alone.
        """
        return trace(self.module, list(self.inputs.values())) if self._as_declared is None else self._as_declared

    @cached_property
    def _as_declared(self) -> Program | None:
        given = [self.inputs[name] if item is None else item for name, item in self.declared.items()]
        try:
            return trace(self.module, given)
        except UserError:
            return None

    @property
    def varies(self) -> bool:
        """Whether it can be exported for all declared sizes, and not only for those of `inputs`."""
        return self._as_declared is not None

    @property
    def nbytes(self) -> int:
        """Bytes of its inputs, constants and expected values."""
        tensors = [*self.inputs.values(), *self.module.buffers(), *self.expected]
        return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))


def part_of(program: Program, names: Collection[str], values: Mapping[str, Any], outputs: Sequence[str] = ()) -> Part:
    """Some operators of a program as a module.

    Args:
        program: that has them.
        names: of op nodes; what else they need to be run (sizes, the operator whose result is picked) comes along.
        values: what PyTorch computes at the nodes whose values enter, by name.
        outputs: whose values to return; by default what no operator of the part reads, or others read too.

    Raises:
        KeyError: a value is missing.
    """
    chosen = _closed(program, names)
    nodes = [node for node in program.graph.nodes if node.name in chosen]
    builder = _Builder(program, values)
    for node in nodes:
        builder.add(node)
    wanted = list(outputs) or [node.name for node in nodes if _leaves(node, chosen)]
    graph = builder.finish(wanted)
    module = GraphModule(builder.root, graph, "Part")
    with torch.no_grad():
        expected = module(*(_copied(value) for value in builder.inputs.values()))
    ranges = symbol_ranges(program)
    known = program.nodes_by_name
    declared = {name: _declared(known[name], value, ranges) for name, value in builder.inputs.items()}
    return Part(tuple(n.name for n in nodes), module, builder.inputs, declared, tuple(wanted), tuple(expected))


def ancestors(program: Program, name: str, levels: int, within: Collection[str]) -> set[str]:
    """A node and the operators that lead to it, so many levels up, as far as they are among some nodes."""
    found, border = {name}, [program.node(name)]
    for _ in range(levels):
        sources = {source for node in border for source in node.all_input_nodes}
        border = [source for source in sources if source.name in within and source.name not in found]
        found |= {node.name for node in border}
    return found


def _closed(program: Program, names: Collection[str]) -> set[str]:
    """The names, with what else they need: sizes and what these are made of, producers of picked results, and picks."""
    nodes = program.nodes_by_name
    names = {*names, *(user.name for name in names for user in nodes[name].users if is_getitem(user))}
    chosen, waiting = set(names), [nodes[name] for name in names]
    while waiting:
        node = waiting.pop()
        for source in node.all_input_nodes:
            comes_along = is_getitem(node) or (is_symbolic(source) and source.op == "call_function")
            if comes_along and source.op == "call_function" and source.name not in chosen:
                chosen.add(source.name)
                waiting.append(source)
    return chosen


def _leaves(node: Node, chosen: Collection[str]) -> bool:
    """Whether a node of a part yields a tensor that the part should return."""
    if not isinstance(node.meta.get("val"), torch.Tensor):
        return False
    return not any(user.name in chosen for user in node.users) or any(user.name not in chosen for user in node.users)


class _Builder:
    """Copies nodes into a graph in which what they read from outside is an input, or a buffer if it is a constant."""

    def __init__(self, program: Program, values: Mapping[str, Any]) -> None:
        self._constants, self._values = program.constants, values
        self.root = torch.nn.Module()
        self.graph = Graph()
        self.inputs: dict[str, Any] = {}
        self._copies: dict[Node, Node] = {}
        self._last: Node | None = None

    def add(self, node: Node) -> None:
        """Copy a node; what it reads was added before, or enters."""
        for source in node.all_input_nodes:
            if source not in self._copies:
                self._copies[source] = self._entering(source, node)
        self._copies[node] = self.graph.node_copy(node, lambda argument: self._copies[argument])
        self._copies[node].name = node.name
        self._copies[node].meta = {"val": node.meta.get("val")}

    def _entering(self, source: Node, reader: Node) -> Node:
        if source.op == "get_attr":
            body = bodies_of(reader).get(str(source.target))
            if body is not None:
                setattr(self.root, str(source.target), body)
                return self.graph.get_attr(str(source.target))
        if source.name in self._constants:
            self.root.register_buffer(source.name, self._constants[source.name].detach())
            with self._at_start():
                copy = self.graph.get_attr(source.name)
        else:
            self.inputs[source.name] = self._values[source.name]
            with self._at_start():
                copy = self.graph.placeholder(source.name)
        copy.name = source.name
        return copy

    def _at_start(self) -> Any:
        """Inputs come first, in the order in which they are found."""
        placeholders = self.graph.find_nodes(op="placeholder")
        if placeholders:
            return self.graph.inserting_after(placeholders[-1])
        return self.graph.inserting_before(next(iter(self.graph.nodes), None))

    def finish(self, outputs: Sequence[str]) -> Graph:
        """The graph, with its results."""
        by_name = {node.name: copy for node, copy in self._copies.items()}
        self.graph.output(tuple(by_name[name] for name in outputs))
        self.graph.lint()
        return self.graph


def _declared(node: Node, value: Any, ranges: Any) -> Input | None:
    fake = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or not isinstance(fake, torch.Tensor):
        return None
    if all(isinstance(size, int) for size in fake.shape):
        return None
    try:
        corners = [dim_range(size, ranges) for size in dims_of(fake.shape)]
    except UnderivableSize:
        return None
    low, usual, high = ([corner[index] for corner in corners] for index in range(3))
    usual = [min(max(a, b), c) for a, b, c in zip(low, value.shape, high, strict=True)]
    return Input(min_shape=low, opt_shape=usual, max_shape=high, dtype=value.dtype, name=node.name)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def tensor_nodes(program: Program, names: Iterable[str]) -> list[Node]:
    """The nodes among some that yield one tensor, in graph order."""
    wanted = set(names)
    return [n for n in program.op_nodes if n.name in wanted and isinstance(n.meta.get("val"), torch.Tensor)]


def leaders(program: Program, names: Iterable[str]) -> list[str]:
    """The operators among some nodes, in graph order: neither sizes nor picked results."""
    wanted = set(names)
    return [n.name for n in program.op_nodes if n.name in wanted and producer_of(n) is n and not is_symbolic(n)]


def operator_name(node: Node) -> Any:
    """What a node calls, with the operator itself for a picked result."""
    return producer_of(node).target if node.target is operator.getitem else node.target
