"""Lowering passes that were written for Torch-TensorRT: functions `(graph module, settings)` that give the module."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from ..ir.program import Program
from ..pass_base import Context, Pass, graph_pass
from ..pipeline import Pipeline, as_pipeline, default_pipeline
from .compilation_settings import CompilationSettings
from .kept import Kept
from .mistakes import InvalidType, InvalidValue

LoweringPass = Callable[[GraphModule, CompilationSettings], GraphModule]


def lowered(function: LoweringPass) -> Pass:
    """A pass that applies a function of Torch-TensorRT's kind to the graph.

    The graph is that of the exported program: weights are placeholders. Nodes that the function adds get their values;
    functions of `torch` among them become the operators that they are.
    """

    def run(program: Program, ctx: Context) -> Program:
        module = program.exported.graph_module
        made = function(module, CompilationSettings())
        if not isinstance(made, GraphModule):
            kind = type(made).__name__
            raise InvalidType(f"the lowering pass {_name(function)} returned a {kind}: return the module.")
        if made is not module:
            module.graph = made.graph
        for node in module.graph.nodes:
            if node.op == "call_function":
                node.target = _operator(node)
                if "val" not in node.meta:
                    node.meta["val"] = _value(node)
        module.graph.lint()
        module.recompile()
        return program

    run.__doc__ = function.__doc__
    words = re.sub(r"[^a-z0-9]+", "-", _name(function).lower()).strip("-")
    return graph_pass(f"lower.{words or 'registered'}")(run)


def _operator(node: Node) -> Any:
    """The overload that a function of torch's is for a node's arguments; the target itself, if it is one."""
    target: Any = node.target
    if isinstance(target, torch._ops.OpOverload) or target is operator.getitem:
        return target
    if not isinstance(target, torch._ops.OpOverloadPacket):
        from torch.jit._builtins import _find_builtin

        name = _find_builtin(target)  # type: ignore[no-untyped-call]
        if name is None:
            return target
        library, _, short = name.partition("::")
        target = getattr(getattr(torch.ops, library), short)
    args, kwargs = torch.fx.node.map_aggregate((node.args, node.kwargs), _known)
    overload = torch._C._jit_resolve_packet(target._qualified_op_name, *args, **kwargs)
    return getattr(target, overload or "default")


def _known(item: Any) -> Any:
    return item.meta["val"] if isinstance(item, Node) else item


def _value(node: Node) -> Any:
    from torch._guards import detect_fake_mode

    args, kwargs = torch.fx.node.map_aggregate((node.args, node.kwargs), _known)
    mode = detect_fake_mode((args, kwargs))
    with mode or torch.no_grad():
        return node.target(*args, **kwargs)  # type: ignore[operator]


class Passes(Kept[LoweringPass]):
    """The passes of a process, which every compilation of `trt_passes.torch_tensorrt` runs after `decompose`."""


PASSES = Passes()


def aten_lowering_pass(*args: Any, index: int | None = None, **config: Any) -> Any:
    """`_aten_lowering_pass`: register the decorated function, at a place among those that were registered.

    Args:
        args: the function, where the decorator is used without arguments.
        index: its place; the last by default.
        config: whatever `get_lowering_pass_config` shall give for the function.
    """

    def register(function: LoweringPass) -> LoweringPass:
        if not callable(function):
            raise InvalidType(f"a lowering pass is a function, not a {type(function).__name__}.")
        PASSES.items.insert(len(PASSES.items) if index is None else index, function)
        if config:
            vars(function)[_CONFIG] = dict(config)
        return function

    if len(args) > 1:
        raise InvalidValue("_aten_lowering_pass takes the function alone, or index by name.")
    return register(args[0]) if args else register


_CONFIG = "_lowering_pass_config"


def get_lowering_pass_config(lowering_pass: LoweringPass) -> dict[str, Any]:
    """What a function was registered with beside its place."""
    return dict(vars(lowering_pass).get(_CONFIG, {}))


def remove_lowering_pass(*, index: int) -> None:
    """`_remove_lowering_pass`: forget the pass that was registered at a place.

    Raises:
        ValueError: there is none.
    """
    if not -len(PASSES.items) <= index < len(PASSES.items):
        raise InvalidValue(f"there are {len(PASSES.items)} registered passes, and none at place {index}.")
    PASSES.items.pop(index)


def lowering_passes_text() -> str:
    """`dump_lowering_passes`: the names of the passes that were registered, in order."""
    return "\n".join(f"{place}: {_name(item)}" for place, item in enumerate(PASSES.items)) or "none is registered"


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def clean_up_graph_after_modifications(gm: GraphModule) -> GraphModule:
    """Remove what nothing reads from a graph, check it, and make the module's code of it."""
    gm.graph.eliminate_dead_code()
    gm.graph.lint()
    gm.recompile()
    return gm


def get_tensor_placeholders(gm: GraphModule) -> list[Node]:
    """The placeholders of a graph that are tensors."""
    return [node for node in gm.graph.find_nodes(op="placeholder") if torch.is_tensor(node.meta.get("val"))]


def with_passes(given: Any) -> Any:
    """The pipeline of a compilation, with the passes that were registered; None where it is the usual one."""
    if not PASSES.items:
        return given
    pipeline: Pipeline = default_pipeline() if given is None else as_pipeline(given)
    return pipeline.insert_after("decompose", *(lowered(item) for item in PASSES.items))
