"""What flows through the pipeline: a `Program` (an ExportedProgram with annotated nodes) and its `Segment`s."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, InputSpec, OutputKind, TensorArgument
from torch.fx import Graph, GraphModule, Node
from torch.fx._lazy_graph_module import _LazyGraphModule
from torch.fx.graph import CodeGen

from .annotations import annotate_node, annotations_of, clear, reasons_of, segment_of, verdict_of
from .collector import collector_paused
from .engine_spec import EngineArtifact
from .graph import sync_signature
from .input import Input
from .ledger import Ledger, LedgerRow, Verdict
from .left_out import LeftOut
from .network import Network
from .notebook import ShownInNotebooks
from .quantisation import Quantisation
from .source import module_of, source_of
from .text import op_name

CONSTANT_KINDS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


@dataclass(frozen=True)
class Segment(ShownInNotebooks):
    """One region of the graph that becomes one engine.

    `nodes` are op nodes in graph order; `inputs` and `outputs` name the nodes whose tensors cross the border at run
    time; `constants` name the placeholders (parameters, buffers, constants) that the region reads. `network` is set by
    `convert`, `engine` by `build`.
    """

    name: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[str, ...] = ()
    network: Network | None = field(default=None, repr=False, compare=False)
    engine: EngineArtifact | None = field(default=None, repr=False, compare=False)

    shown_by: ClassVar[str] = "segment_bundle"

    def __repr__(self) -> str:
        made = "engine" if self.engine is not None else "network" if self.network is not None else ""
        ports = f"{len(self.inputs)} in, {len(self.outputs)} out"
        return f"Segment({self.name}, {len(self.nodes)} op nodes, {ports}{f', {made}' if made else ''})"


class Repeatable(Protocol):
    """What a program remembers of the pass that made something of it, so that it can be made again."""

    def run(self, program: Program, ctx: Any) -> Program:
        """Do the pass's work once more."""


@dataclass(frozen=True)
class Program(ShownInNotebooks):
    """A model on its way through the pipeline.

    `exported` is a valid `torch.export.ExportedProgram` after every pass; verdicts and segments are annotations of its
    nodes (see `annotations`). `inputs` are the declared inputs in order of the flattened user inputs, with the ranges
    of dynamic dimensions; empty when only the exported program knows them. `segments` exist after `partition`.
    `partitioned_by` is the pass that made them, so that `convert` and `build` can repeat it without a node that failed.
    `compiled` is set by `splice`. `left_out` are arguments that a call may have and the graph does not.
    `quantisation` is what `quantize` said of the model. `mutable` are
    the names of weights that may change after compiling, so that they are no constants.
    """

    exported: ExportedProgram
    inputs: tuple[Input, ...] = ()
    segments: tuple[Segment, ...] = ()
    partitioned_by: Repeatable | None = field(default=None, repr=False, compare=False)
    compiled: GraphModule | None = field(default=None, repr=False, compare=False)
    left_out: LeftOut | None = field(default=None, repr=False, compare=False)
    quantisation: Quantisation | None = field(default=None, repr=False, compare=False)
    mutable: frozenset[str] = field(default=frozenset(), repr=False)

    shown_by: ClassVar[str] = "program_bundle"

    def __repr__(self) -> str:
        parts = [f"{len(self.op_nodes)} op nodes", f"{len(self.user_inputs)} inputs"]
        parts += [f"{len(self.segments)} segments"] if self.segments else []
        return f"Program({', '.join(parts)}{', compiled' if self.compiled is not None else ''})"

    # --- the graph -------------------------------------------------------------------------------------------------
    @property
    def graph(self) -> Graph:
        """The fx graph of the exported program; a transform pass changes it in place."""
        graph: Graph = self.exported.graph_module.graph
        return graph

    @property
    def op_nodes(self) -> tuple[Node, ...]:
        """The nodes that the ledger accounts for: every `call_function`, in graph order."""
        return tuple(node for node in self.graph.nodes if node.op == "call_function")

    def node(self, name: str) -> Node:
        """The node of that name; KeyError if there is none."""
        try:
            return self.nodes_by_name[name]
        except KeyError:
            raise KeyError(f"the program has no node named {name!r}") from None

    @property
    def nodes_by_name(self) -> dict[str, Node]:
        """All nodes of the graph by name, in graph order."""
        return {node.name: node for node in self.graph.nodes}

    # --- constants and inputs --------------------------------------------------------------------------------------
    @property
    def input_specs(self) -> Mapping[str, InputSpec]:
        """The export signature's entry for every placeholder, by placeholder name."""
        return MappingProxyType({spec.arg.name: spec for spec in self.exported.graph_signature.input_specs})

    @property
    def constants(self) -> Mapping[str, torch.Tensor]:
        """The tensor behind every placeholder that is constant at run time, by placeholder name.

        Buffers that the program mutates are not constant, nor are weights that are `mutable`.
        """
        mutated = {*self.exported.graph_signature.buffers_to_mutate.values(), *self.mutable}
        tensors = {}
        for spec in self.exported.graph_signature.input_specs:
            if spec.kind in CONSTANT_KINDS and spec.target not in mutated:
                tensor = self._tensor(spec)
                if tensor is not None:
                    tensors[spec.arg.name] = tensor
        return MappingProxyType(tensors)

    @property
    def state_read(self) -> set[str]:
        """The names that the model gave to the parameters, buffers and constants that the program reads."""
        read = {node.name for node in self.graph.find_nodes(op="placeholder") if node.users}
        specs = self.exported.graph_signature.input_specs
        return {str(spec.target) for spec in specs if spec.kind in CONSTANT_KINDS and spec.arg.name in read}

    def _tensor(self, spec: InputSpec) -> torch.Tensor | None:
        target = str(spec.target)
        value = self.exported.state_dict.get(target)
        if value is None:
            value = self.exported.constants.get(target)
        return value if isinstance(value, torch.Tensor) else None

    @property
    def user_inputs(self) -> tuple[Node, ...]:
        """The placeholders that the caller fills, in order of the flattened arguments (without those such as None)."""
        specs = self.input_specs
        return tuple(
            node
            for node in self.graph.nodes
            if node.op == "placeholder"
            and specs[node.name].kind is InputKind.USER_INPUT
            and not isinstance(specs[node.name].arg, ConstantArgument)
        )

    @property
    def output_node(self) -> Node:
        """The graph's output node."""
        node: Node = self.graph.output_node()
        return node

    @property
    def mutates(self) -> bool:
        """Whether the program writes to a buffer or to a user input: by its signature, or by an in-place operator."""
        kinds = {OutputKind.BUFFER_MUTATION, OutputKind.USER_INPUT_MUTATION}
        if any(spec.kind in kinds for spec in self.exported.graph_signature.output_specs):
            return True
        schemas = (getattr(node.target, "_schema", None) for node in self.op_nodes)
        return any(schema is not None and schema.is_mutable for schema in schemas)

    def add_constant(self, name: str, tensor: torch.Tensor, made_of: Iterable[Node] = ()) -> Node:
        """Add a constant tensor to the program, in place, and return its placeholder (named `name` or close to it).

        `made_of` are placeholders of the constants that it was computed from, which it is annotated with.
        """
        graph, specs = self.graph, self.input_specs
        user_inputs = (n for n in graph.nodes if n.op == "placeholder" and specs[n.name].kind is InputKind.USER_INPUT)
        first_user_input = next(user_inputs, None)
        anchor = first_user_input or next(iter(n for n in graph.nodes if n.op != "placeholder"))
        with graph.inserting_before(anchor):
            node = graph.placeholder(f"c_{name}".replace(".", "_"))
        node.target = node.name  # fx makes the name unique, and writes the target into the code
        target = f"{node.name}_folded"
        tensor = tensor.detach()
        node.meta["val"] = fake_tensor(graph, tensor)
        spec = InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(node.name), target)
        position = [n for n in graph.nodes if n.op == "placeholder"].index(node)
        self.exported.graph_signature.input_specs.insert(position, spec)
        self.exported.constants[target] = tensor
        annotate_node(node, made_of=sorted({name for source in made_of for name in self._made_of(source)}))
        return node

    def _made_of(self, constant: Node) -> list[str]:
        return [str(self.input_specs[constant.name].target), *annotations_of(constant).get("made_of", ())]

    # --- copies ----------------------------------------------------------------------------------------------------
    def copy(self) -> Program:
        """A program with a graph and annotations of its own; tensors, networks and engines are shared."""
        # A copy makes no garbage, and the collector would go through all that a large one is made of several times.
        with collector_paused():
            return replace(self, exported=_with_graph(self.exported, copy_graph(self.graph)))

    def synced(self) -> Program:
        """The program with its export signature brought up to date with its graph, and checked.

        Call it after changing `graph` in place; the pass manager does so after every transform. Placeholders of
        parameters, buffers and constants that nothing reads any more are dropped with their tensors.
        """
        return replace(self, exported=sync_signature(self.exported))

    def without_analysis(self) -> Program:
        """The program without verdicts and segments: they ended when the graph was rewritten. In place."""
        for node in self.graph.nodes:
            clear(node, "verdict", "reasons", "because", "segment", "variant")
        return replace(self, segments=(), partitioned_by=None, compiled=None)

    # --- verdicts --------------------------------------------------------------------------------------------------
    @property
    def ledger(self) -> Ledger:
        """The verdicts of all op nodes that have one."""
        return Ledger(tuple(self._rows()))

    def _rows(self) -> Iterator[LedgerRow]:
        for node in self.op_nodes:
            verdict = verdict_of(node)
            if verdict is not None:
                yield LedgerRow(
                    node=node.name,
                    op=op_name(node.target),
                    verdict=verdict,
                    reasons=reasons_of(node),
                    because=annotations_of(node).get("because"),
                    segment=segment_of(node),
                    module=module_of(node),
                    source=source_of(node),
                    variant=annotations_of(node).get("variant") if verdict is Verdict.TRT else None,
                )

    def with_segments(self, segments: tuple[Segment, ...]) -> Program:
        """The program with other segments."""
        return replace(self, segments=segments)


def copy_graph(graph: Graph) -> Graph:
    """A copy of an fx graph with the same node names; `meta` dicts are copied one level deep."""
    copied = Graph()
    copied._codegen = graph._codegen
    mapping: dict[Node, Node] = {}
    for node in graph.nodes:
        mapping[node] = copied.node_copy(node, lambda argument: mapping[argument])
        mapping[node].name = node.name  # a graph of its own accord renames "input", and other names that Python knows
    return copied


def _with_graph(exported: ExportedProgram, graph: Graph) -> ExportedProgram:
    """An ExportedProgram like `exported` around a copy of its graph, with signature and constants of its own.

    Nothing is checked, and the code of the graph is generated only if somebody calls or reads it: passes work on the
    graph, and making code for each of them took longer than most of them.
    """
    signature = exported.graph_signature
    twin = copy.copy(exported)
    graph.set_codegen(CodeGen())
    twin._graph_module = _LazyGraphModule(exported.graph_module, graph)
    twin._graph_module.meta.update(exported.graph_module.meta)
    twin._graph_signature = type(signature)(list(signature.input_specs), list(signature.output_specs))
    twin._state_dict, twin._constants = dict(exported.state_dict), dict(exported.constants)
    twin._range_constraints = dict(exported.range_constraints)
    return twin


def rebuild(exported: ExportedProgram, graph: Graph) -> ExportedProgram:
    """An ExportedProgram like `exported` around another graph, with signature and constants of its own."""
    signature = exported.graph_signature
    rebuilt = ExportedProgram(
        root=exported.graph_module,
        graph=graph,
        graph_signature=type(signature)(list(signature.input_specs), list(signature.output_specs)),
        state_dict=dict(exported.state_dict),
        range_constraints=dict(exported.range_constraints),
        module_call_graph=exported.module_call_graph,
        example_inputs=exported.example_inputs,
        constants=dict(exported.constants),
        verifiers=exported.verifiers,
    )
    texts = getattr(exported, "_guards_code", None)
    if texts and not rebuilt._guards_code:
        rebuilt._guards_code = list(texts)  # all that a program from a file knows of its conditions on sizes
    return rebuilt


def fake_tensor(graph: Graph, tensor: torch.Tensor) -> torch.Tensor:
    """A fake tensor with static shape like `tensor`, in the fake mode of the graph's other values."""
    mode = fake_mode_of(graph)
    if mode is None:
        return tensor.to("meta")
    fake: torch.Tensor = mode.from_tensor(tensor, static_shapes=True)
    return fake


def fake_mode_of(graph: Graph) -> Any:
    """The fake tensor mode that the graph's values were traced under, or None."""
    for node in graph.nodes:
        mode = getattr(node.meta.get("val"), "fake_mode", None)
        if mode is not None:
            return mode
    return None


def is_symbolic(node: Node) -> bool:
    """Whether a node yields a size (SymInt, SymFloat, SymBool or a plain number), not a tensor."""
    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | torch.SymBool | int | float | bool)


def is_getitem(node: Node) -> bool:
    """Whether a node picks one result of an operator that returns several."""
    return node.op == "call_function" and node.target is operator.getitem


def bodies_of(node: Node) -> dict[str, GraphModule]:
    """The graphs that are arguments of a node (the branches of a conditional, the body of a loop), by their names."""
    root = node.graph.owning_module
    names = [str(source.target) for source in node.all_input_nodes if source.op == "get_attr"]
    found = {name: attrgetter(name)(root) for name in names if root is not None}  # also tensors, inside of a body
    return {name: module for name, module in found.items() if isinstance(module, GraphModule)}
