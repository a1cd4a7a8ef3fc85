"""Weights in few bits that engines take as floats, and kernels packed: made once, when a module first runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from ..ir.aliasing import written_tensors
from ..ir.engine_operator import OPERATOR
from ..ir.memory import times_written, view_key
from ..ir.operators import DEQUANTIZERS, PACK_INT4, PACKED_PRODUCT

WEIGHTS = "_trt_passes_weights"
"""Attribute of a compiled module whose attributes are such weights, by the name of the node that makes them."""


class LoadedWeight:
    """What a node of a graph makes of stored weights; computed anew only after these were moved or written to.

    Args:
        module: has the tensors.
        node: calls an operator with attributes of the module, and with numbers and types.
    """

    def __init__(self, module: nn.Module, node: Node) -> None:
        self._module, self._target = module, node.target
        self._args = tuple(attrgetter(str(item.target)) if isinstance(item, Node) else item for item in node.args)
        self._known: tuple[Hashable, torch.Tensor] | None = None

    def __call__(self) -> torch.Tensor:
        """The weight as engines and kernels take it, where what is stored is."""
        args = [item(self._module) if isinstance(item, attrgetter) else item for item in self._args]
        key = tuple(_state(item) for item in args if isinstance(item, torch.Tensor))
        known = self._known
        if known is not None and known[0] == key:
            return known[1]
        compute: Any = self._target
        weight: torch.Tensor = compute(*args)
        # In a capture nothing is computed yet, and the memory is the graph's.
        if not (weight.is_cuda and torch.cuda.is_current_stream_capturing()):
            self._known = key, weight
        return weight


def _state(tensor: torch.Tensor) -> Hashable:
    return view_key(tensor), times_written(tensor)


def loaded_weights(module: GraphModule) -> dict[str, LoadedWeight]:
    """Those of a compiled module's graph, by the name of the node that makes them."""
    written = set(written_tensors(module.graph)[0])
    return {
        node.name: LoadedWeight(module, node)
        for node in module.graph.nodes
        if _is_made_of_weights(node) and not written & {str(item.target) for item in node.all_input_nodes}
    }


def take_loaded_weights(graph: Graph, weights: Mapping[str, Any]) -> None:
    """Read the weights of these names in a graph, in place, where it makes them."""
    for node in [node for node in graph.nodes if node.name in weights and node.target in _READERS]:
        with graph.inserting_before(node):
            call = graph.create_node("call_module", f"{WEIGHTS}.{node.name}", ())
        node.replace_all_uses_with(call)
        operands = node.all_input_nodes
        graph.erase_node(node)
        for operand in operands:
            if not operand.users:
                graph.erase_node(operand)


_READERS: Mapping[Any, Any] = MappingProxyType({**dict.fromkeys(DEQUANTIZERS, OPERATOR), PACK_INT4: PACKED_PRODUCT})
"""What makes weights, and what must be all that reads them."""


def _is_made_of_weights(node: Node) -> bool:
    if node.target not in _READERS or any(user.target is not _READERS[node.target] for user in node.users):
        return False
    return bool(node.all_input_nodes) and all(item.op == "get_attr" for item in node.all_input_nodes)
