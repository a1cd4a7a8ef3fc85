"""The borders of segments: which tensors enter and leave an engine, and which nodes cannot have such a border."""

from __future__ import annotations

from collections.abc import Container, Iterable

import sympy
import torch
from torch.fx import Node

from ...compiler.ir.dependencies import data_dependent, plain_dimensions, producer_of, reads_values, symbols_of
from ...compiler.ir.ledger import Reason
from ...compiler.ir.program import Program, Segment, is_symbolic
from ...compiler.tensorrt.dtypes import is_representable
from ...compiler.tensorrt.tensor import MAX_RANK


def segments_of(program: Program, wanted: set[str], groups: Iterable[tuple[str, ...]]) -> tuple[Segment, ...]:
    """The segments with their borders. A size joins the first segment that uses it: the others can compute it too."""
    home = {name: index for index, group in enumerate(groups) for name in group}
    for node in reversed(program.graph.nodes):
        if node.name in wanted:
            if producer_of(node) is not node:
                index = home.get(producer_of(node).name)
            elif is_symbolic(node) and not reads_values(node):
                index = min((home[user.name] for user in node.users if user.name in home), default=None)
            else:
                continue
            if index is not None:
                home[node.name] = index
    members: dict[int, list[Node]] = {}
    for node in program.op_nodes:
        if node.name in home:
            members.setdefault(home[node.name], []).append(node)
    constants, user_inputs = program.constants, program.user_inputs
    return tuple(_segment(index, members[index], constants, user_inputs) for index in sorted(members))


def _segment(index: int, nodes: list[Node], constants: Container[str], user_inputs: Iterable[Node]) -> Segment:
    inside = set(nodes)
    read = dict.fromkeys(source for node in nodes if not is_symbolic(node) for source in node.all_input_nodes)
    border = [source for source in read if source not in inside and not is_symbolic(source)]
    inputs = [source for source in border if source.name not in constants and source.op != "get_attr"]
    needed = set().union(*(symbols_of(source) for source in read if is_symbolic(source)))
    missing = needed.difference(*map(plain_dimensions, inputs))
    for source in filter(_may_enter, user_inputs):
        # A size is known inside an engine only if the shape of one of its inputs has it.
        if missing & plain_dimensions(source):
            missing -= plain_dimensions(source)
            inputs.append(source)
    outputs = [
        node.name
        for node in nodes
        if not is_symbolic(node) and any(u not in inside and _reads_elements(u) for u in node.users)
    ]
    return Segment(
        name=f"segment-{index:02d}",
        nodes=tuple(node.name for node in nodes),
        inputs=tuple(source.name for source in inputs),
        outputs=tuple(outputs),
        constants=tuple(source.name for source in border if source.name in constants),
    )


def _may_enter(source: Node) -> bool:
    """Whether TensorRT has tensors such as an input, none of whose elements an engine may need."""
    value = source.meta.get("val")
    return isinstance(value, torch.Tensor) and is_representable(value.dtype) and value.dim() <= MAX_RANK


def _reads_elements(user: Node) -> bool:
    """Whether a node needs more of a tensor than its shape, which can be told without the tensor."""
    return not is_symbolic(user) or reads_values(user)


def border_refusals(program: Program, segments: Iterable[Segment]) -> dict[str, Reason]:
    """Nodes that cannot stay in their segment because of what would have to cross its border."""
    nodes = program.nodes_by_name
    refused: dict[str, Reason] = {}
    for item in segments:
        known = set().union(*(plain_dimensions(nodes[name]) for name in item.inputs))
        computing = [nodes[name] for name in item.nodes if not is_symbolic(nodes[name])]
        unknown = {
            node.name: _unknown_size(node, size)
            for node in computing
            for size in filter(is_symbolic, node.all_input_nodes)
            if symbols_of(size) - known
        }
        if not unknown and not (item.inputs and item.outputs):
            side = "output" if item.inputs else "input"
            reason = Reason("TP304", f"an engine of these {len(computing)} op nodes would have no tensor {side}.")
            unknown = {node.name: reason for node in computing}
        refused |= unknown | _unknown_results([nodes[name] for name in item.outputs], known)
    return {name: reason for name, reason in refused.items() if producer_of(nodes[name]) is nodes[name]}


def _unknown_results(outputs: Iterable[Node], known: set[sympy.Symbol]) -> dict[str, Reason]:
    """The producers of results whose size is known only once the engine has run, so that nobody can allocate them."""
    refused: dict[str, Reason] = {}
    for node in outputs:
        for symbol in sorted(data_dependent(node.meta.get("val")) - known, key=str):
            text = f"%{node.name} of size {symbol}, which depends on the values of a tensor, would leave an engine."
            refused[producer_of(node).name] = Reason("TP204", text)
    return refused


def _unknown_size(node: Node, size: Node) -> Reason:
    if reads_values(size):
        return Reason("TP302", f"%{node.name} needs the number %{size.name}, and only tensors can enter an engine.")
    text = f"%{node.name} needs %{size.name} = {size.meta['val']}, which no shape of its engine's inputs tells."
    return Reason("TP302", text)
