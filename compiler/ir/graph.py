"""Editing the graph of an ExportedProgram: new calls with metadata and values, and a signature that stays in step."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ConstantArgument,
    InputKind,
    OutputSpec,
    SymBoolArgument,
    SymFloatArgument,
    SymIntArgument,
    TensorArgument,
)
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

DROPPABLE = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
KEPT_META = ("stack_trace", "nn_module_stack", "from_node", "source_fn_stack", "custom", "torch_fn")


def insert_call(
    graph: Graph, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None, *, like: Node
) -> Node:
    """Create a `call_function` at the graph's insertion point and compute its value.

    The new node takes over where it came from (source line, module, annotations) from `like`.
    """
    name = target._schema.name.split("::")[1] if isinstance(target, torch._ops.OpOverload) else None
    node = graph.create_node("call_function", target, args, dict(kwargs or {}), name=name)
    node.meta = {key: like.meta[key] for key in KEPT_META if key in like.meta}
    node.meta["val"] = fake_value(node)
    return node


def fake_value(node: Node) -> Any:
    """Run a node's operator on the fake values of its arguments; the result is what `meta["val"]` should hold.

    An operator without tensor arguments (`full`, `arange`) runs in the fake mode of the graph's other values.
    """
    args, kwargs = map_arg((node.args, node.kwargs), lambda argument: argument.meta["val"])
    return fake_value_of(node, args, kwargs)


def fake_value_of(node: Node, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Run a node's operator on fake values that stand for its arguments, such as those that they are to have."""
    call: Any = node.target
    known = (getattr(other.meta.get("val"), "fake_mode", None) for other in (*node.all_input_nodes, *node.graph.nodes))
    mode = next((mode for mode in known if mode is not None), None)
    if mode is None:
        return call(*args, **kwargs)
    # Without PyTorch's own decompositions in Python, a linear layer reads numbers from symbolic sizes in release 2.11.
    with mode, torch.no_grad(), enable_python_dispatcher():
        return call(*args, **kwargs)


def replace_node(node: Node, replacement: Node) -> None:
    """Let all users of `node` read `replacement`, and erase `node`."""
    node.replace_all_uses_with(replacement)
    node.graph.erase_node(node)


def refresh_values(graph: Graph, changed: Iterable[Node]) -> None:
    """Recompute the values of nodes that read others whose memory layout has changed, and of what reads those.

    Where a view of the new layout is impossible, it gets a contiguous copy to read.
    """
    affected = set(changed)
    for node in graph.nodes:
        if not _computes(node.target) or affected.isdisjoint(node.all_input_nodes) or _makes_sizes(node):
            continue
        before = layouts(node.meta["val"])
        try:
            value = fake_value(node)
        except (RuntimeError, ValueError):
            if node.target not in _NEEDS_LAYOUT:
                raise
            source = node.all_input_nodes[0]
            with graph.inserting_before(node):
                layout = {"memory_format": torch.contiguous_format}
                copy = insert_call(graph, torch.ops.aten.clone.default, (source,), layout, like=node)
            node.replace_input_with(source, copy)
            value = fake_value(node)
        if layouts(value) != before:
            node.meta["val"] = value
            affected.add(node)


def _computes(target: Any) -> bool:
    """Whether values can be run through it: not through control flow, whose results have layouts of their own."""
    return isinstance(target, torch._ops.OpOverload) or target is operator.getitem


def _makes_sizes(node: Node) -> bool:
    """Whether the size of a result depends on values: run again, it would get a new symbol."""
    known = {symbol for source in node.all_input_nodes for symbol in _unbacked(source.meta.get("val"))}
    return bool(_unbacked(node.meta.get("val")) - known)


def _unbacked(value: Any) -> set[Any]:
    leaves = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor | torch.SymInt)]
    return {symbol for leaf in leaves for symbol in free_unbacked_symbols(leaf)}


_NEEDS_LAYOUT = frozenset({torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default})


def layouts(value: Any) -> list[tuple[Any, ...]]:
    """The strides of a tensor, or of several; () for a sparse one."""
    values = value if isinstance(value, list | tuple) else [value]
    tensors = [item for item in values if isinstance(item, torch.Tensor)]
    return [tuple(map(str, item.stride())) if item.layout is torch.strided else () for item in tensors]


def sync_signature(exported: ExportedProgram) -> ExportedProgram:
    """An ExportedProgram whose signature, constants and state agree with its (changed) graph, and which is checked."""
    module, signature = exported.graph_module, exported.graph_signature
    graph = module.graph
    specs = {spec.arg.name: spec for spec in signature.input_specs}
    for node in [n for n in graph.nodes if n.op == "placeholder"]:
        spec = specs.get(node.name)
        if spec is None:
            raise ValueError(f"placeholder {node.name!r} is not in the signature: add it with Program.add_constant")
        mutated = spec.target in signature.buffers_to_mutate.values()
        if spec.kind in DROPPABLE and not node.users and not mutated:
            graph.erase_node(node)
    placeholders = [node.name for node in graph.nodes if node.op == "placeholder"]
    missing = [spec.arg.name for spec in signature.input_specs if spec.arg.name not in placeholders]
    lost = [name for name in missing if specs[name].kind not in DROPPABLE]
    if lost:
        raise ValueError(f"the pass erased the inputs {', '.join(lost)}: a program keeps all inputs of its caller")
    results = graph.output_node().args[0]
    if len(results) != len(signature.output_specs):
        raise ValueError(f"the pass changed the number of outputs from {len(signature.output_specs)} to {len(results)}")
    outputs = [_output_spec(spec, node) for spec, node in zip(signature.output_specs, results, strict=True)]
    kept = [specs[name] for name in placeholders]
    targets = {spec.target for spec in kept if spec.target is not None}
    dropped = {specs[name].target for name in missing} - targets
    graph.lint()
    return ExportedProgram(
        root=module,
        graph=graph,
        graph_signature=type(signature)(kept, outputs),
        state_dict={key: value for key, value in exported.state_dict.items() if key not in dropped},
        range_constraints=exported.range_constraints,
        module_call_graph=exported.module_call_graph,
        example_inputs=exported.example_inputs,
        constants={key: value for key, value in exported.constants.items() if key not in dropped},
        verifiers=exported.verifiers,
    )


def _output_spec(spec: OutputSpec, value: Any) -> OutputSpec:
    return replace(spec, arg=result_argument(value))


def result_argument(value: Any) -> Any:
    """How an export signature names a result: a node by its name, with what it yields, or a constant."""
    if not isinstance(value, Node):
        return ConstantArgument(name="", value=value)
    kinds = {torch.SymInt: SymIntArgument, torch.SymFloat: SymFloatArgument, torch.SymBool: SymBoolArgument}
    return kinds.get(type(value.meta.get("val")), TensorArgument)(name=value.name)
