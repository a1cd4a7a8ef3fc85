"""`dynamo.partitioning`: a graph divided into what TensorRT takes and what it does not, to be looked at or compiled."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import OperatorSupportBase
from torch.fx.passes.tools_common import stable_topological_sort
from torch.fx.passes.utils.fuser_utils import erase_nodes, fuse_as_graphmodule, topo_sort

from .converter_registry import DYNAMO_CONVERTERS, forms, takes, target_text
from .graph_tools import get_input
from .input import Input
from .mistakes import InvalidValue, NotPossible


class OperatorSupport(OperatorSupportBase):
    """Which operators of a graph the converters take, and how often each was met.

    Attributes:
        supported, unsupported: the number of nodes, by operator.
    """

    def __init__(
        self,
        operators: Collection[Any] | None,
        stay: Collection[Any],
        *,
        taken: Collection[Node] = (),
        everything: bool = False,
    ) -> None:
        self.supported: dict[str, int] = {}
        self.unsupported: dict[str, int] = {}
        self._operators = None if operators is None else {target_text(item) for item in operators}
        self._stay = {target_text(item) for item in stay}
        self._known: dict[Node, bool] = dict.fromkeys(taken, False)
        self._everything = everything

    def is_node_supported(self, submodules: Mapping[str, torch.nn.Module], node: Node) -> bool:
        """Whether a node goes to the backend; weights go where their readers are."""
        if node.op in ("placeholder", "get_attr", "output"):
            return False
        if node not in self._known:
            self._known[node] = self._takes(node)
            counts = self.supported if self._known[node] else self.unsupported
            counts[target_text(node.target)] = counts.get(target_text(node.target), 0) + 1
        return self._known[node]

    def _takes(self, node: Node) -> bool:
        if node.op != "call_function" or not forms(node.target).isdisjoint(self._stay):
            return False
        if self._everything:
            return True
        if self._operators is None:
            return takes(node)
        return not forms(node.target).isdisjoint(self._operators)

    def print_support_overview(self, num_trt_blocks: int | None = None) -> None:
        """Print how often which operator was met, and the number of parts for the backend."""
        if num_trt_blocks is not None:
            print(f"parts for TensorRT: {num_trt_blocks}")
        for title, counts in (("supported", self.supported), ("not supported", self.unsupported)):
            print(f"{title}: " + (", ".join(f"{name} ({n})" for name, n in sorted(counts.items())) or "nothing"))


def fast_partition(
    gm: GraphModule,
    verbose: bool = True,
    min_block_size: int = 5,
    torch_executed_ops: Collection[Any] = (),
    require_full_compilation: bool = False,
    skip_fusion: bool = False,
) -> tuple[GraphModule, OperatorSupport]:
    """The graph as calls of submodules: `_run_on_acc_…` for TensorRT, `_run_on_gpu_…` for PyTorch.

    What `compile` builds is decided by its own pass `partition`; this is for those who compile parts themselves.

    Args:
        gm: a graph of aten operators.
        verbose: print which operators are supported.
        min_block_size: operators that a part for TensorRT has at least.
        torch_executed_ops: operators that stay in PyTorch, also by name.
        require_full_compilation: raise an error where anything stays in PyTorch.
        skip_fusion: as there: no operators are kept together here, TensorRT fuses what it is given.

    Raises:
        RuntimeError: something stays in PyTorch, and `require_full_compilation` is on.
    """
    support = OperatorSupport(None, torch_executed_ops)
    parts = _parts(gm, support, min_block_size)
    _told(support, parts, gm, verbose, require_full_compilation)
    return _divided(gm, [("acc", part) for part in parts]), support


def global_partition(
    gm: GraphModule,
    verbose: bool = True,
    min_block_size: int = 5,
    torch_executed_ops: Collection[Any] = (),
    require_full_compilation: bool = False,
) -> tuple[GraphModule, OperatorSupport]:
    """The same, of which only what is for TensorRT becomes submodules: PyTorch's operators stay in the graph."""
    support = OperatorSupport(None, torch_executed_ops)
    parts = _parts(gm, support, min_block_size)
    _told(support, parts, gm, verbose, require_full_compilation)
    return _divided(gm, [("acc", part) for part in parts], all_of_it=False), support


def hierarchical_adjacency_partition(
    gm: GraphModule,
    verbose: bool = True,
    min_block_size: int = 5,
    torch_executed_ops: Collection[Any] = (),
    backend_support_map: Mapping[str, Collection[Any]] | None = None,
    backend_priority: Sequence[str] | None = None,
    require_full_compilation: bool = False,
    skip_fusion: bool = False,
) -> tuple[GraphModule, OperatorSupport]:
    """The same for several backends: `_run_on_acc_inductor_…`, `_run_on_acc_tensorrt_…`, `_run_on_gpu_…`.

    Args:
        backend_support_map: which operators a backend takes, also by name; those of TensorRT by default.
        backend_priority: the backends, the one that is asked first in front.
        gm, verbose, min_block_size, torch_executed_ops, require_full_compilation, skip_fusion: as for `fast_partition`.
    """
    backends = dict(backend_support_map or {"tensorrt": DYNAMO_CONVERTERS.keys()})
    order = list(backend_priority or backends)
    if unknown := [name for name in order if name not in backends]:
        raise InvalidValue(f"backend_priority has {unknown[0]!r}, which backend_support_map does not say more of.")
    support = OperatorSupport([item for name in order for item in backends[name]], torch_executed_ops)
    groups: list[tuple[str, list[Node]]] = []
    for name in order:
        own = OperatorSupport(backends[name], torch_executed_ops, taken={node for _, part in groups for node in part})
        groups += [(f"acc_{name}", part) for part in _parts(gm, own, min_block_size)]
    _told(support, [part for _, part in groups], gm, verbose, require_full_compilation)
    return _divided(gm, groups), support


def construct_submodule_inputs(module: GraphModule) -> list[Input]:
    """The inputs of a part, by what tracing recorded of its placeholders: sizes that vary with their ranges.

    Raises:
        ValueError: nothing is known of one: the graph that was divided was not made by torch.export.
    """
    return [_input_of(node) for node in module.graph.find_nodes(op="placeholder")]


def _input_of(node: Node) -> Input:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        raise InvalidValue(f"nothing is known of the input {node.name!r}: divide the graph of an exported program.")
    return get_input(value.shape, value.dtype, node.name)


def get_graph_converter_support(graph_module: GraphModule, torch_executed_ops: Collection[Any] = ()) -> tuple[int, int]:
    """How many operators of a graph have a converter that takes them, and how many there are.

    Args:
        graph_module: of aten operators; where tracing recorded values, converters' conditions on them count.
        torch_executed_ops: operators that stay in PyTorch, also by name.
    """
    support = OperatorSupport(None, torch_executed_ops)
    calls = [node for node in graph_module.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    return sum(support.is_node_supported({}, node) for node in calls), len(calls)


def _parts(gm: GraphModule, support: OperatorSupport, least: int) -> list[list[Node]]:
    """Groups of supported nodes that can each be one call, in the graph's order."""
    partitioner = CapabilityBasedPartitioner(gm, support, allows_single_node_partition=True)
    order = {node: place for place, node in enumerate(gm.graph.nodes)}
    groups = [sorted(group.nodes, key=order.__getitem__) for group in partitioner.propose_partitions()]
    large = [group for group in groups if sum(node.op == "call_function" for node in group) >= least]
    return sorted(large, key=lambda group: order[group[0]])


def _told(support: OperatorSupport, parts: Sequence[Any], gm: GraphModule, verbose: bool, whole: bool) -> None:
    stays = len([node for node in gm.graph.nodes if node.op == "call_function"]) - sum(map(len, parts))
    if whole and (stays or len(parts) > 1):
        raise NotPossible(
            f"require_full_compilation is on, and there are {len(parts)} parts for TensorRT beside {stays} operators "
            f"that stay in PyTorch; no converter takes {', '.join(sorted(support.unsupported)) or 'nothing'}."
        )
    if verbose:
        support.print_support_overview(len(parts))


def _divided(gm: GraphModule, groups: Sequence[tuple[str, list[Node]]], *, all_of_it: bool = True) -> GraphModule:
    """The graph as calls of submodules, one for each group, named by its kind and its place among the calls.

    Args:
        gm: the graph, which is changed.
        groups: kinds and nodes, of which each group can be one call.
        all_of_it: make submodules of what no group has too, of the kind "gpu".
    """
    for kind, nodes in groups:
        _fused(gm, kind, nodes)
    stable_topological_sort(gm)
    if all_of_it:
        for nodes in _parts(gm, OperatorSupport(None, (), everything=True), 0):
            _fused(gm, "gpu", nodes)
        stable_topological_sort(gm)
    calls = [node for node in gm.graph.find_nodes(op="call_module") if str(node.target).startswith(_UNNAMED)]
    order = {node: place for place, node in enumerate(gm.graph.nodes)}
    for place, node in enumerate(sorted(calls, key=order.__getitem__)):
        kind = str(node.target).removeprefix(_UNNAMED).rpartition("_")[0]
        name = f"_run_on_{kind}_{place}"
        gm.add_submodule(name, gm.get_submodule(str(node.target)))
        gm.delete_submodule(str(node.target))
        node.target = name
        node._rename(name)
    gm.delete_all_unused_submodules()  # weights are in the parts now
    gm.graph.lint()
    gm.recompile()
    return gm


_UNNAMED = "_part_of_"


def _fused(gm: GraphModule, kind: str, nodes: list[Node]) -> None:
    """Make one call of nodes, and of the weights that only they read."""
    inside = set(nodes)
    weights = [node for node in gm.graph.find_nodes(op="get_attr") if node.users and inside.issuperset(node.users)]
    whole = topo_sort([*weights, *nodes])
    name = f"{_UNNAMED}{kind}_{sum(1 for _ in gm.children())}"
    made, inputs, outputs = fuse_as_graphmodule(gm, whole, name, dict.fromkeys(whole))
    gm.add_submodule(name, made)
    with gm.graph.inserting_after(whole[-1]):
        call = gm.graph.call_module(name, inputs)
    if isinstance(made.graph.output_node().args[0], Node):
        outputs[0].replace_all_uses_with(call, propagate_meta=True)
    else:
        call.meta["val"] = tuple(item.meta.get("val") for item in outputs)
        with gm.graph.inserting_before(call.next):
            for place, item in enumerate(outputs):
                part = gm.graph.call_function(operator.getitem, (call, place))
                item.replace_all_uses_with(part, propagate_meta=True)
    erase_nodes(gm, whole)
