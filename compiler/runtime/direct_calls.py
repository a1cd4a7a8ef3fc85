"""The second way to run a compiled graph: engines called directly, instead of through PyTorch's dispatcher."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, Protocol

import torch
from torch.fx import Graph, GraphModule
from torch.fx._symbolic_trace import is_fx_symbolic_tracing
from torch.fx.graph import CodeGen, _PyTreeCodeGen
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..ir.left_out import LeftOut
from ..ir.program import copy_graph
from .autocast import autocast_off
from .compiled_segment import CompiledSegment
from .engine_graph import SEGMENTS
from .island_packages import Shelf
from .islands import ISLANDS, Island, take_islands
from .user_lines import note_user_line
from .when_loaded import LoadedWeight, take_loaded_weights


class Called(Protocol):
    """What a compiled module has for its calls."""

    left_out: LeftOut | None
    cuda_graphs: Callable[..., Any] | None


Forward = Callable[..., Any]


def direct_forward(
    module: GraphModule,
    segments: Mapping[str, CompiledSegment],
    weights: Mapping[str, LoadedWeight] = MappingProxyType({}),
    compile_islands: bool = False,
    shelf: Shelf | None = None,
) -> tuple[Forward, dict[str, Island]]:
    """A `forward` for the module in which the segments stand for the calls of the operator.

    The module must have them as the attribute `SEGMENTS`, and those of its weights that are made when it is loaded as
    `WEIGHTS`; with `compile_islands`, the islands that come with it are the attribute `ISLANDS`, for which a `shelf`
    may have code.
    """
    graph = copy_graph(module.graph)
    pairs = zip(module.graph.nodes, graph.nodes, strict=True)
    for node in [twin for original, twin in pairs if original.name in segments]:
        with graph.inserting_before(node):
            call = graph.create_node("call_module", f"{SEGMENTS}.{node.name}", tuple(node.args[0]))
        node.replace_all_uses_with(call)
        operands = node.all_input_nodes
        graph.erase_node(node)
        for operand in operands:
            if operand.op == "get_attr" and not operand.users:
                graph.erase_node(operand)
    take_loaded_weights(graph, weights)
    islands = take_islands(graph, shelf) if compile_islands else {}
    _simplify_signature(graph, module)
    root = module if not islands else _with_islands(module, islands)
    forward: Forward = type(GraphModule(root, graph)).forward
    return forward, islands


def _with_islands(module: GraphModule, islands: Mapping[str, Island]) -> GraphModule:
    setattr(module, ISLANDS, SimpleNamespace(**islands))
    return module


def _simplify_signature(graph: Graph, module: GraphModule) -> None:
    """Take arguments and give results without pytree, which costs more than a small engine, where none is nested."""
    spec = getattr(module, "_in_spec", None)
    if not isinstance(graph._codegen, _PyTreeCodeGen) or spec is None or not _is_flat(spec):
        return
    names = [str(node.target) for node in graph.find_nodes(op="placeholder")]
    if [name for name in graph._codegen.pytree_info.orig_args if name != "self"] != names:
        return
    output, structure = graph.output_node(), module._out_spec
    assert structure is not None, "pytree code has a structure for either side"
    leaves = list(output.args[0])  # type: ignore[arg-type]
    if structure.is_leaf():
        output.args = (leaves[0],)
    elif structure.type in (tuple, list, dict) and all(child.is_leaf() for child in structure.children()):
        output.args = (pytree.tree_unflatten(leaves, structure),)
    else:
        return
    graph.set_codegen(CodeGen())


def _is_flat(spec: Any) -> bool:
    return all(child.is_leaf() for group in spec.children() for child in group.children())


def forward_of(official: Forward, direct: Forward) -> Forward:
    """A method with the signature of `official`, which runs what is traced; `direct` runs the rest."""

    @functools.wraps(official)
    def forward(self: Called, *args: Any, **kwargs: Any) -> Any:
        if self.left_out is not None and self.left_out.concerns(args, kwargs):
            args, kwargs = self.left_out.removed(args, kwargs)
        if _is_traced():
            return official(self, *args, **kwargs)
        if torch._C._functorch.peek_interpreter_stack() is not None:
            _refuse_transforms()
        if torch.is_autocast_enabled("cuda") or torch.is_autocast_enabled("cpu"):
            with autocast_off(("cpu", "cuda")):
                return forward(self, *args, **kwargs)
        # Engines have no gradients, so what is left of the model has none either. torch.no_grad would cost more than
        # all else here.
        before = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)
        try:
            graphs = self.cuda_graphs
            return direct(self, *args, **kwargs) if graphs is None else graphs(self, direct, args, kwargs)
        except Exception as error:
            note_user_line(error)
            raise
        finally:
            torch._C._set_grad_enabled(before)

    return forward


def _is_traced() -> bool:
    return (
        torch.compiler.is_compiling()
        # make_fx, fake tensors, and modes of users that want to see every operator.
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._get_tracing_state() is not None
        or is_fx_symbolic_tracing()
    )


def _refuse_transforms() -> None:
    """Raise UserError: tensors of torch.func have no memory to read, and a gradient of engines would be 0."""
    stack = torch._C._functorch.get_interpreter_stack() or []
    names = ", ".join(sorted({f"torch.func.{level.key().name.lower()}" for level in stack}))
    raise UserError(
        f"a compiled module cannot be called under {names}, which cannot look into engines: call it outside, with the "
        "batch as a dimension of its inputs, or use the model that was compiled."
    )
