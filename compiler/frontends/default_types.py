"""Types that PyTorch chose by its default type, which another default would not give: written into the graph."""

from __future__ import annotations

import torch
from torch.fx import Node

from ..ir.program import Program

aten = torch.ops.aten


def write_default_types(program: Program) -> None:
    """Say in the graph which types floats have that are made of nothing or of whole numbers, in place.

    A graph has `ones(4)` and `a / b` of whole numbers as they are written, whose type is that of
    `torch.get_default_dtype()` whenever they are run: a model that sets another one has it only while it is traced.
    """
    for node in program.op_nodes:
        wanted = _by_default(node)
        if wanted is None or wanted == torch.get_default_dtype():
            continue
        if "dtype" in _arguments(node):
            node.update_kwarg("dtype", wanted)
            continue
        for source in list(node.all_input_nodes):
            value = source.meta.get("val")
            if isinstance(value, torch.Tensor):
                with node.graph.inserting_before(node):
                    cast = node.graph.call_function(aten._to_copy.default, (source,), {"dtype": wanted})
                cast.meta = {key: item for key, item in node.meta.items() if key in ("stack_trace", "nn_module_stack")}
                cast.meta["val"] = value.to(wanted)
                node.replace_input_with(source, cast)


def _by_default(node: Node) -> torch.dtype | None:
    """The type of what a node makes, if it is a float made of none and nobody said which; else None."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return None
    if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace != "aten":
        return None
    sources = [source.meta.get("val") for source in node.all_input_nodes]
    if any(isinstance(item, torch.Tensor) and (item.is_floating_point() or item.is_complex()) for item in sources):
        return None
    given = [*node.args, *node.kwargs.values()]
    return None if any(isinstance(item, torch.dtype) for item in given) else value.dtype


def _arguments(node: Node) -> set[str]:
    assert isinstance(node.target, torch._ops.OpOverload)
    return {argument.name for argument in node.target._schema.arguments}
