"""Weights in four bits as two numbers in a byte: the program, saved files and modules hold them so."""

from __future__ import annotations

import torch
from torch.fx import Node

from ...compiler.ir.annotations import annotate_node, annotations_of
from ...compiler.ir.dtypes import HALVES
from ...compiler.ir.graph import insert_call
from ...compiler.ir.operators import DEQUANTIZE, DEQUANTIZE_PACKED, PACK_INT4
from ...compiler.ir.packed_numbers import pack_four_bits, unpack_four_bits
from ...compiler.ir.program import Program
from .known_values import KnownValues
from .values import node_of


def unpack_weights(program: Program, known: KnownValues) -> None:
    """Read weights that an earlier run packed in eight bits, in place, as all other rewriting does."""
    for node in program.op_nodes:
        if node.target is not DEQUANTIZE_PACKED or node.args[2] != "int4":
            continue
        values = known.of(node.args[0])
        assert values is not None, "weights in four bits are constants"
        data = known.store(program, f"{node.name}_data", unpack_four_bits(values))
        with node.graph.inserting_before(node):
            new = insert_call(node.graph, DEQUANTIZE, (data, node.args[1], None, node.args[4]), like=node)
        node.replace_all_uses_with(new)
        node.graph.erase_node(node)


def pack_weights(program: Program, known: KnownValues) -> None:
    """Store in four bits what is annotated so, in place; scales that halves hold exactly become those.

    Engines and the module then have the same bytes for them, which files and processes hold once.
    """
    packed: dict[Node, Node] = {}
    for node in program.op_nodes:
        if node.target is PACK_INT4 or (node.target is DEQUANTIZE and annotations_of(node).get("stored") == "int4"):
            data = node_of(node.args[0])
            values = known.of(data)
            assert values is not None, "weights in four bits are constants"
            if data not in packed:
                packed[data] = known.store(program, data.name.removeprefix("c_"), pack_four_bits(values))
            if node.target is PACK_INT4:
                node.args = (packed[data],)
            else:
                _replace(program, known, node, packed[data])


def _replace(program: Program, known: KnownValues, node: Node, packed: Node) -> None:
    scale, dtype = node_of(node.args[1]), node.args[3]
    steps = known.of(scale)
    assert steps is not None, "scales of weights are constants"
    exact = [half for half in _halves(dtype) if torch.equal(steps.to(half).float(), steps.float())]
    if exact and steps.dtype not in HALVES:
        scale = known.store(program, scale.name.removeprefix("c_"), steps.to(exact[0]))
    with node.graph.inserting_before(node):
        new = insert_call(node.graph, DEQUANTIZE_PACKED, (packed, scale, "int4", 1.0, dtype), like=node)
    annotate_node(new, stored="int4")
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)


def _halves(dtype: object) -> list[torch.dtype]:
    """Both half types, that of the weight first."""
    return sorted(HALVES, key=lambda half: (half is not dtype, str(half)))
