"""The graph of a compiled program: segments as calls of the operator, between what is left of the model's graph."""

from __future__ import annotations

import heapq
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputSpec,
    TensorArgument,
)
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree
from torch.utils._sympy.symbol import SymT, symbol_is_type

from ..ir.dependencies import SHAPE_QUERIES
from ..ir.engine_operator import OPERATOR
from ..ir.engine_spec import EngineSpec
from ..ir.graph import result_argument
from ..ir.program import Program, Segment, fake_tensor
from ..ir.sequence import in_sequence
from ..ir.shape_rule import Shape, ShapeRule
from .calls.any_strides import take_any_strides
from .compiled_segment import fallback_tensor
from .fallback import segment_module
from .sizes_in_graph import SizesInGraph, is_recomputed


@dataclass(frozen=True)
class SegmentParts:
    """What a built segment brings into the compiled graph.

    `engine` and `serialized` are uint8 tensors: the plan (its own memory, not a copy) and the PyTorch graph.
    `reference` evaluates the segment's network with the reference executor.
    """

    segment: Segment
    spec: EngineSpec
    engine: torch.Tensor = field(repr=False)
    module: GraphModule = field(repr=False)
    serialized: torch.Tensor = field(repr=False)

    @classmethod
    def of(cls, program: Program, segment: Segment) -> SegmentParts:
        """The parts of a built segment."""
        assert segment.engine is not None, "the fact 'built' says that every segment has an engine"
        module = segment_module(program, segment)
        data = segment.engine.plan
        if memoryview(data).readonly:  # as from a store of the user's
            data = bytearray(data)
        plan = torch.frombuffer(data, dtype=torch.uint8)
        return cls(segment, segment.engine.spec, plan, module, fallback_tensor(module))

    def reference(self) -> Callable[[Sequence[torch.Tensor]], list[torch.Tensor]] | None:
        """A function that evaluates the segment's network, made when it is called first; None without a network."""
        network, spec = self.segment.network, self.spec
        if network is None:
            return None
        executors: list[Any] = []
        rule = ShapeRule(spec)

        def run(inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
            from ..tensorrt.executor.run import ReferenceExecutor

            if not executors:
                executors.append(ReferenceExecutor(network.trt, network.network, network.unreadable))
            named = {binding.name: tensor for binding, tensor in zip(spec.inputs, inputs, strict=True)}
            results = executors[0].run(named)
            found = [results[binding.name] for binding in spec.outputs]
            _check_shapes(spec, rule.output_shapes([tuple(tensor.shape) for tensor in inputs]), found)
            return found

        return run


def _check_shapes(spec: EngineSpec, expected: Sequence[Shape], found: Sequence[torch.Tensor]) -> None:
    """An engine writes into memory of the shapes that its specification tells, so a network's must be the same."""
    from ..tensorrt.executor.call import ExecutorError

    for binding, shape, tensor in zip(spec.outputs, expected, found, strict=True):
        if tuple(tensor.shape) != tuple(shape):
            raise ExecutorError(
                f"output {binding.name!r} of the network of {spec.name} has shape {list(tensor.shape)}, "
                f"but its specification says {list(shape)}"
            )


def spliced(program: Program, parts: Sequence[SegmentParts]) -> ExportedProgram:
    """The program with every segment replaced by a call of `trt_passes::execute_engine`.

    The result shares weights with the program and holds engines as constants.
    """
    return _Splicer(program, parts).run()


Unit = Node | SegmentParts
"""What runs as a whole: a node that stays in PyTorch, or a segment."""


class _Splicer:
    def __init__(self, program: Program, parts: Sequence[SegmentParts]) -> None:
        self.program, self.parts = program, parts
        self.nodes = program.nodes_by_name
        self.graph = Graph()
        for name in self.nodes:
            # Copies get the names of what they are copies of, which nothing that is made anew may take.
            self.graph._graph_namespace.create_name(name, None)
        self.sizes = SizesInGraph(self.graph)
        self.copies: dict[Node, Node] = {}
        self.extra_specs: list[InputSpec] = []
        self.extra_constants: dict[str, torch.Tensor] = {}
        self.operands: dict[str, tuple[Node, Node]] = {}

    def run(self) -> ExportedProgram:
        self._placeholders()
        for unit in self._ordered(self._units()):
            if isinstance(unit, Node):
                self._copy(unit)
            else:
                self._call(unit)
        results = [self._copied(value) if isinstance(value, Node) else value for value in self._results()]
        self.graph.output(tuple(results)).meta.update(self.program.output_node.meta)
        return self._exported(results)

    def _results(self) -> Sequence[Any]:
        return self.program.output_node.args[0]  # type: ignore[return-value]

    # --- nodes -----------------------------------------------------------------------------------------------------
    def _placeholders(self) -> None:
        specs = self.program.input_specs
        placeholders = [node for node in self.program.graph.nodes if node.op == "placeholder"]
        first = next((n for n in placeholders if specs[n.name].kind is InputKind.USER_INPUT), None)
        for node in placeholders:
            if node is first:
                self._add_operands()
            self._record(node, self.graph.node_copy(node))
        if first is None:
            self._add_operands()

    def _add_operands(self) -> None:
        for item in self.parts:
            self.operands[item.segment.name] = (
                self._add_constant(f"{_identifier(item.segment.name)}_engine", item.engine),
                self._add_constant(f"{_identifier(item.segment.name)}_fallback", item.serialized),
            )

    def _add_constant(self, name: str, tensor: torch.Tensor) -> Node:
        node = self.graph.placeholder(f"c_{name}")
        node.meta["val"] = fake_tensor(self.program.graph, tensor)
        self.extra_specs.append(InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(node.name), name))
        self.extra_constants[name] = tensor
        return node

    def _record(self, node: Node, copy: Node) -> None:
        # torch.export names nodes after arguments; fx would not call a copy "input", which is a Python builtin.
        copy.name = node.name
        self.copies[node] = copy
        self.sizes.add(copy)

    def _copied(self, argument: Node) -> Any:
        return self.sizes.copied(argument, self.copies.__getitem__)

    def _copy(self, node: Node) -> None:
        self._record(node, self.graph.node_copy(node, self._copied))

    def _call(self, item: SegmentParts) -> None:
        segment = item.segment
        engine, fallback = self.operands[segment.name]
        inputs = [self.copies[self.nodes[name]] for name in segment.inputs]
        constants = [self.copies[self.nodes[name]] for name in segment.constants]
        call = self.graph.create_node(
            "call_function",
            OPERATOR,
            (inputs, engine, item.spec.dumps(), fallback, constants),
            name=_identifier(segment.name),
        )
        outputs = [self.nodes[name] for name in segment.outputs]
        call.meta["val"] = [node.meta["val"] for node in outputs]
        for index, node in enumerate(outputs):
            pick = self.graph.create_node("call_function", operator.getitem, (call, index), name=node.name)
            pick.meta = {key: value for key, value in node.meta.items() if key != "custom"}
            self._record(node, pick)

    # --- order -----------------------------------------------------------------------------------------------------
    def _units(self) -> dict[Node, Unit]:
        """The unit that makes each node; sizes that are computed where they are needed have none."""
        home: dict[str, Unit] = {name: item for item in self.parts for name in item.segment.nodes}
        return {
            node: home.get(node.name, node)
            for node in self.program.graph.nodes
            if node.op not in ("placeholder", "output") and not is_recomputed(node)
        }

    def _ordered(self, unit_of: Mapping[Node, Unit]) -> Iterator[Unit]:
        """The units in an order in which they can run, else in the graph's order."""
        position: dict[int, int] = {}
        units: dict[int, Unit] = {}
        for index, unit in enumerate(unit_of.values()):
            position.setdefault(id(unit), index)
            units[id(unit)] = unit
        definer = self._definers(unit_of)
        waiting: dict[int, set[int]] = {}
        users: dict[int, list[int]] = {}
        for key, unit in units.items():
            needed = {id(other) for other in self._needs(unit, unit_of, definer)} - {key}
            waiting[key] = needed
        for before, after in in_sequence(unit_of):
            waiting[id(unit_of[after])] |= {id(unit_of[before])} - {id(unit_of[after])}
        for key, needed in waiting.items():
            for other in needed:
                users.setdefault(other, []).append(key)
        ready = [position[key] for key, needed in waiting.items() if not needed]
        by_position = {position[key]: key for key in units}
        heapq.heapify(ready)
        done = 0
        while ready:
            key = by_position[heapq.heappop(ready)]
            done += 1
            yield units[key]
            for user in users.get(key, ()):
                waiting[user].discard(key)
                if not waiting[user]:
                    heapq.heappush(ready, position[user])
        if done != len(units):
            raise ValueError("the segments wait for each other, so they cannot be run one after the other")

    def _needs(self, unit: Unit, unit_of: Mapping[Node, Unit], definer: Mapping[sympy.Symbol, Unit]) -> Iterator[Unit]:
        if isinstance(unit, Node):
            sources: Iterable[Node] = unit.all_input_nodes
        else:
            sources = [self.nodes[name] for name in unit.segment.inputs]
        waiting, seen = list(sources), set(sources)
        while waiting:
            source = waiting.pop()
            if source in unit_of:
                yield unit_of[source]
            elif not is_recomputed(source):
                continue
            elif source.target in SHAPE_QUERIES:
                symbols = free_unbacked_symbols(source.meta["val"])
                yield from (definer[symbol] for symbol in symbols if symbol in definer)
            else:
                waiting += [other for other in source.all_input_nodes if other not in seen]
                seen.update(source.all_input_nodes)

    @staticmethod
    def _definers(unit_of: Mapping[Node, Unit]) -> dict[sympy.Symbol, Unit]:
        """The unit after which each data-dependent size is known."""
        definer: dict[sympy.Symbol, Unit] = {}
        for node, unit in unit_of.items():
            for leaf in pytree.tree_leaves(node.meta.get("val")):
                if isinstance(leaf, torch.Tensor | torch.SymInt | torch.SymFloat | torch.SymBool):
                    for symbol in free_unbacked_symbols(leaf):
                        definer.setdefault(symbol, unit)
        return definer

    # --- result ----------------------------------------------------------------------------------------------------
    def _exported(self, results: Sequence[Any]) -> ExportedProgram:
        before = self.program.exported
        known = {**self.program.input_specs, **{spec.arg.name: spec for spec in self.extra_specs}}
        inputs = [known[node.name] for node in self.graph.nodes if node.op == "placeholder"]
        outputs = [_renamed(spec, r) for spec, r in zip(before.graph_signature.output_specs, results, strict=True)]
        module = GraphModule(before.graph_module, self.graph)
        take_any_strides(module)
        self.graph.lint()
        return ExportedProgram(
            root=module,
            graph=self.graph,
            graph_signature=ExportGraphSignature(inputs, outputs),
            state_dict=dict(before.state_dict),
            # PyTorch's files have no ranges of fractions, and nothing asks for them.
            range_constraints={
                symbol: limits
                for symbol, limits in before.range_constraints.items()
                if not (symbol.is_Symbol and symbol_is_type(symbol, (SymT.FLOAT, SymT.UNBACKED_FLOAT)))
            },
            module_call_graph=before.module_call_graph[:1],
            example_inputs=before.example_inputs,
            constants={**before.constants, **self.extra_constants},
            verifiers=before.verifiers,
        )


def _renamed(spec: OutputSpec, result: Any) -> OutputSpec:
    return replace(spec, arg=result_argument(result))


def _identifier(name: str) -> str:
    return name.replace("-", "_")
