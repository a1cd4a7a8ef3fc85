"""An operator with its neighbours as a program of its own, so that variants are measured as they are fused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Interpreter, Node

from ..compiler.ir.program import Program, is_getitem, is_symbolic

STEPS = 2
"""How far neighbours are taken along, before and after."""


@dataclass(frozen=True)
class Window:
    """An operator of a program with some neighbours.

    Attributes:
        node: the operator.
        nodes: all, in graph order.
        inputs: names of the values that it reads from outside, in order; constants are a part of it.
    """

    node: Node
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]

    @classmethod
    def around(cls, program: Program, node: Node, alone: Collection[Node]) -> Window:
        """The window around a node of a program; `alone` are nodes that belong to no other node's window."""
        chosen = {node}
        for neighbours in (lambda item: item.all_input_nodes, lambda item: list(item.users)):
            border = [node]
            for _ in range(STEPS):
                border = [other for item in border for other in neighbours(item) if _is_small(other, alone)]
                chosen.update(border)
        # Results of an operator that has several are picked where they are used.
        chosen.update(user for item in list(chosen) for user in item.users if is_getitem(user))
        nodes = tuple(item for item in program.graph.nodes if item in chosen)
        constants = program.constants
        read = dict.fromkeys(source.name for item in nodes for source in item.all_input_nodes if source not in chosen)
        return cls(node, nodes, tuple(name for name in read if name not in constants))

    def module(self, program: Program) -> GraphModule:
        """The window as a module, whose arguments are its inputs; weights are buffers."""
        root, graph = torch.nn.Module(), Graph()
        known = program.nodes_by_name
        copies: dict[Node, Node] = {}
        for name in self.inputs:
            copies[known[name]] = graph.placeholder(name)
        constants = program.constants
        for name in dict.fromkeys(source.name for item in self.nodes for source in item.all_input_nodes):
            if name in constants and known[name] not in copies:
                root.register_buffer(name, constants[name].detach())
                copies[known[name]] = graph.get_attr(name)
        for item in self.nodes:
            copies[item] = graph.node_copy(item, copies.__getitem__)
        ends = [item for item in self.nodes if not any(user in self.nodes for user in item.users)]
        graph.output(tuple(copies[item] for item in ends if isinstance(item.meta.get("val"), torch.Tensor)))
        return GraphModule(root, graph)


def _is_small(node: Node, alone: Collection[Node]) -> bool:
    """Whether a neighbour goes along: arithmetic and moves, which TensorRT fuses."""
    # What picks a result of another operator is not taken without it.
    if node.op != "call_function" or node in alone or is_symbolic(node) or is_getitem(node):
        return False
    schema = getattr(node.target, "_schema", None)
    return isinstance(node.meta.get("val"), torch.Tensor) and not (schema is not None and schema.is_mutable)


class Values(Interpreter):
    """Runs a program's graph in PyTorch on a device, and keeps the values of some nodes.

    Args:
        program: the program, whose tensors may be elsewhere.
        wanted: names of nodes.
        device: where everything is computed: a large model in halves takes minutes on a CPU.
    """

    def __init__(self, program: Program, wanted: Collection[str], device: torch.device) -> None:
        super().__init__(program.exported.graph_module)
        self.found: dict[str, torch.Tensor] = {}
        self._wanted, self._device = frozenset(wanted), device

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("device") is not None:
            kwargs = {**kwargs, "device": self._device}
        return super().call_function(target, args, kwargs)

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n.op in ("placeholder", "get_attr") and isinstance(value, torch.Tensor):
            value = value.to(self._device)
        if n.name in self._wanted and isinstance(value, torch.Tensor):
            self.found[n.name] = value.clone()
        return value


def values_of(
    program: Program, names: Collection[str], arguments: list[Any], device: torch.device
) -> Mapping[str, torch.Tensor]:
    """The values of some nodes of a program on a device, given those of its placeholders."""
    run = Values(program, names, device)
    with torch.no_grad():
        run.run(*arguments, enable_io_processing=False)
    return run.found
