"""Weights in few bits that engines take as floats: dequantised once, when a module first runs on a device."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from ..ir.aliasing import written_tensors
from ..ir.engine_operator import OPERATOR
from ..ir.memory import times_written, view_key
from ..ir.operators import DEQUANTIZE

WEIGHTS = "_trt_passes_weights"
"""Attribute of a compiled module whose attributes are such weights, by the name of the node that dequantises them."""


class FloatWeight:
    """What a node of a graph dequantises; computed anew only after what it is stored in was moved or written to.

    Args:
        module: has the tensors.
        names: of its attributes that hold the numbers, and their scale.
        dtype: of the result.
    """

    def __init__(self, module: nn.Module, names: tuple[str, str], dtype: torch.dtype) -> None:
        self._module, self._dtype = module, dtype
        self._data, self._scale = map(attrgetter, names)
        self._known: tuple[Hashable, torch.Tensor] | None = None

    def __call__(self) -> torch.Tensor:
        """The weight in floats, where the numbers are."""
        data, scale = self._data(self._module), self._scale(self._module)
        key = _state(data), _state(scale)
        known = self._known
        if known is not None and known[0] == key:
            return known[1]
        weight: torch.Tensor = DEQUANTIZE(data, scale, None, self._dtype)
        # In a capture nothing is computed yet, and the memory is the graph's.
        if not (weight.is_cuda and torch.cuda.is_current_stream_capturing()):
            self._known = key, weight
        return weight


def _state(tensor: torch.Tensor) -> Hashable:
    return view_key(tensor), times_written(tensor)


def float_weights(module: GraphModule) -> dict[str, FloatWeight]:
    """Those of a compiled module's graph, by the name of the node that dequantises them."""
    written = set(written_tensors(module.graph)[0])
    return {
        node.name: FloatWeight(module, (names[0], names[1]), node.args[3])
        for node in module.graph.nodes
        if (names := _stored(node)) and not written.intersection(names)
    }


def take_float_weights(graph: Graph, weights: Mapping[str, Any]) -> None:
    """Read the weights of these names in a graph, in place, where it dequantises them."""
    for node in [node for node in graph.nodes if node.name in weights and node.target is DEQUANTIZE]:
        with graph.inserting_before(node):
            call = graph.create_node("call_module", f"{WEIGHTS}.{node.name}", ())
        node.replace_all_uses_with(call)
        operands = node.all_input_nodes
        graph.erase_node(node)
        for operand in operands:
            if not operand.users:
                graph.erase_node(operand)


def _stored(node: Node) -> tuple[str, ...]:
    """The names of the attributes that a node dequantises for engines; none if it is for something else."""
    if node.target is not DEQUANTIZE or node.args[2] is not None:
        return ()
    if any(user.target is not OPERATOR for user in node.users):
        return ()
    operands = node.all_input_nodes
    found = tuple(str(operand.target) for operand in operands if operand.op == "get_attr")
    return found if len(found) == len(operands) == 2 else ()
