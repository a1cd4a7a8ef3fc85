"""The compiled program as a module that is called like the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from ..settings import Executor
from .compiled_segment import CompiledSegment
from .engine_spec import EngineSpec
from .operator import OPERATOR
from .runner import Notice, Runner
from .spliced_graph import SegmentParts

SPLICED = "trt_passes_exported"
"""Key of `GraphModule.meta` under which a compiled module keeps the ExportedProgram that it was made of."""


def compiled_module(exported: ExportedProgram, parts: Mapping[str, SegmentParts], executor: Executor) -> GraphModule:
    """A module with the arguments and results of the model; every engine call is a `CompiledSegment`.

    Args:
        exported: a spliced program, see `spliced_graph`.
        parts: of segments that were compiled in this process, by name.
        executor: what runs the segments.
    """
    module = exported.module(check_guards=False)
    assert isinstance(module, GraphModule)
    # Engines check their own inputs; torch.export's check would cost more than enqueueing a small engine.
    module._forward_pre_hooks.clear()
    module._forward_pre_hooks_with_kwargs.clear()
    notice = Notice()
    for node in module.graph.find_nodes(op="call_function", target=OPERATOR):
        segment = _segment(module, node, parts, executor, notice)
        name = EngineSpec.loads(str(node.args[2])).name.replace("-", "_")
        module.add_submodule(name, segment)
        with module.graph.inserting_before(node):
            call = module.graph.call_module(name, tuple(node.args[0]))
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        module.graph.erase_node(node)
        call.name = node.name
    _drop_unread(module)
    module.recompile()
    module.meta[SPLICED] = exported
    return module


def segments_of(module: GraphModule) -> dict[str, CompiledSegment]:
    """The engines of a compiled module, by the name of their submodule, in the order in which they run."""
    called = [str(node.target) for node in module.graph.nodes if node.op == "call_module"]
    found = {name: module.get_submodule(name) for name in called}
    return {name: item for name, item in found.items() if isinstance(item, CompiledSegment)}


def _segment(
    module: GraphModule, node: Node, parts: Mapping[str, SegmentParts], executor: Executor, notice: Notice
) -> CompiledSegment:
    _, engine, spec_text, fallback, constants = node.args
    spec = EngineSpec.loads(str(spec_text))
    built = parts.get(spec.name)
    serialized = _attribute(module, fallback)
    runner = Runner(
        spec,
        _attribute(module, engine),
        executor=executor,
        fallback=None if built is None else built.module,
        serialized_fallback=serialized,
        reference=None if built is None else built.reference(),
        notice=notice,
    )
    tensors = {str(item.target): _attribute(module, item) for item in constants}  # type: ignore[union-attr]
    return CompiledSegment(runner, tensors, serialized)


def _attribute(module: GraphModule, node: Any) -> torch.Tensor:
    owner, _, name = str(node.target).rpartition(".")
    tensor = getattr(module.get_submodule(owner), name)
    assert isinstance(tensor, torch.Tensor)
    return tensor


def _drop_unread(module: GraphModule) -> None:
    """Delete the attributes that only engines read: their `CompiledSegment`s have them now."""
    for node in module.graph.find_nodes(op="get_attr"):
        if not node.users:
            module.graph.erase_node(node)
    kept = {str(node.target) for node in module.graph.nodes if node.op in ("get_attr", "call_module")}
    for name in _tensor_names(module):
        if name not in kept and not any(name.startswith(f"{prefix}.") for prefix in kept):
            owner, _, leaf = name.rpartition(".")
            delattr(module.get_submodule(owner), leaf)
    module.delete_all_unused_submodules()


def _tensor_names(module: GraphModule) -> list[str]:
    return [
        f"{path}.{name}" if path else name
        for path, child in module.named_modules()
        for name in (*child._parameters, *child._buffers, *_plain_tensors(child))
    ]


def _plain_tensors(module: torch.nn.Module) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, torch.Tensor)]
