"""Arguments for a compiled program, of its usual shapes, made from its graph alone."""

from __future__ import annotations

from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.fx import Node
from torch.utils import _pytree as pytree

from ...ir.engine_operator import OPERATOR
from ...ir.engine_spec import EngineSpec
from ...ir.symbols import dims_of, expression, symbol_sources


def usual_arguments(spliced: ExportedProgram, device: torch.device) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments: zeros of the sizes that the engines were optimized for.

    A size that no engine knows has the smallest value that the program allows, but at least 2.

    Args:
        spliced: a program with calls of engines.
        device: where the tensors are made.
    """
    sizes = _usual_sizes(spliced)
    nodes = {node.name: node for node in spliced.graph.nodes}
    leaves = []
    for spec in spliced.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            constant = isinstance(spec.arg, ConstantArgument)
            leaves.append(spec.arg.value if constant else _example(nodes[spec.arg.name], sizes, device))
    args, kwargs = pytree.tree_unflatten(leaves, spliced.call_spec.in_spec)
    return tuple(args), dict(kwargs)


def _example(node: Node, sizes: dict[sympy.Symbol, int], device: torch.device) -> Any:
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor):
        return _size(expression(value), sizes)
    shape = [_size(dim, sizes) for dim in dims_of(value.shape)]
    return torch.zeros(shape, dtype=value.dtype, device=device)


def _size(size: Any, sizes: dict[sympy.Symbol, int]) -> Any:
    return int(size.subs(sizes)) if isinstance(size, sympy.Basic) else size


def _usual_sizes(spliced: ExportedProgram) -> dict[sympy.Symbol, int]:
    sizes: dict[sympy.Symbol, int] = {}
    for call in spliced.graph.find_nodes(op="call_function", target=OPERATOR):
        spec = EngineSpec.loads(str(call.args[2]))
        usual = {binding.name: binding.opt_shape for binding in spec.inputs}
        rows = zip(call.args[0], spec.inputs, strict=True)
        shapes = {binding.name: dims_of(node.meta["val"].shape) for node, binding in rows}
        for symbol, source in symbol_sources(shapes).items():
            size = source.formula.subs({source.size: usual[source.tensor][source.dim], **sizes})
            if size.is_Integer:
                sizes.setdefault(symbol, int(size))
    for symbol, limits in spliced.range_constraints.items():
        if isinstance(symbol, sympy.Symbol):
            sizes.setdefault(symbol, max(2, int(limits.lower)) if limits.upper >= 2 else int(limits.upper))
    return sizes
