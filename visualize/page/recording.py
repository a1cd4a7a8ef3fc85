"""The programs of a run as the page holds them: every node is written down once, for as long as it stays the same."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch.fx import Graph, GraphModule, Node

from ...compiler.analysis.tensor_bytes import TensorBytes
from ...compiler.ir.annotations import annotations_of
from ...compiler.ir.program import Program, is_getitem, is_symbolic
from ...compiler.ir.source import module_of, source_frame, source_of
from ...compiler.ir.text import argument_text, op_name, type_text
from ..sizes import value_bytes
from ..text import input_kind

NODE_COLUMNS = ("name", "kind", "op", "arguments", "type", "module", "source", "bytes", "inputs")
"""What the page knows of a node. `inputs` are indexes of names; so are all but `bytes`, of strings."""

FACT_COLUMNS = ("verdict", "reasons", "because", "segment")
"""What the page knows of a verdict. A reason is a code and a message."""


@dataclass(frozen=True)
class RecordedPass:
    """One pass: its folder in the dump, its name, what it does in a sentence, and which graph and facts it left."""

    folder: str
    name: str
    about: str
    graph: int
    facts: int


@dataclass
class Recording:
    """What every pass left behind, compact enough to hold the graph after each of them.

    Graphs are sequences of nodes, and facts (verdicts) sequences parallel to a graph. Both are shared by the passes
    that did not change them.
    """

    passes: list[RecordedPass] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)
    _strings: dict[str, int] = field(default_factory=dict)
    _nodes: dict[tuple[Any, ...], int] = field(default_factory=dict)
    _facts: dict[tuple[Any, ...], int] = field(default_factory=dict)
    _graphs: dict[tuple[int, ...], int] = field(default_factory=dict)
    _fact_lists: dict[tuple[int, ...], int] = field(default_factory=dict)
    _sources: dict[str, int] = field(default_factory=dict)

    def add(self, folder: str, name: str, about: str, program: Program) -> None:
        """Record the program that a pass left."""
        kinds = {name: input_kind(spec) for name, spec in program.input_specs.items()}
        bytes_of = TensorBytes(program).of
        nodes = tuple(self._node(node, kinds.get(node.name, ""), bytes_of) for node in program.graph.nodes)
        self._note_modules(program.graph)
        self._append(folder, name, about, _index(self._graphs, nodes), map(self._fact, program.graph.nodes))

    def add_compiled(self, folder: str, name: str, about: str, module: GraphModule, segments: Container[str]) -> None:
        """Record the compiled module that a pass made; `segments` names the engines that it may call."""
        nodes = tuple(self._node(node, "", _bytes_as_exported) for node in module.graph.nodes)
        self._note_modules(module.graph)
        facts = (self._fact(node, segments) for node in module.graph.nodes)
        self._append(folder, name, about, _index(self._graphs, nodes), facts)

    def add_facts(self, folder: str, name: str, about: str, program: Program) -> None:
        """Record what a pass found out that left the nodes of the pass before it as they were."""
        self._append(folder, name, about, self.passes[-1].graph, map(self._fact, program.graph.nodes))

    def repeat(self, folder: str, name: str, about: str) -> None:
        """Record a pass that changed nothing."""
        last = self.passes[-1]
        self.passes.append(RecordedPass(folder, name, about, last.graph, last.facts))

    def _append(self, folder: str, name: str, about: str, graph: int, facts: Iterable[int]) -> None:
        self.passes.append(RecordedPass(folder, name, about, graph, _index(self._fact_lists, tuple(facts))))

    def to_json(self) -> dict[str, Any]:
        """The JSON-able form; runs of nodes and of equal facts are written as pairs."""
        return {
            "node_columns": NODE_COLUMNS,
            "fact_columns": FACT_COLUMNS,
            "strings": list(self._strings),
            "nodes": list(self._nodes),
            "facts": list(self._facts),
            "graphs": [_ascending_runs(graph) for graph in self._graphs],
            "fact_lists": [_equal_runs(facts) for facts in self._fact_lists],
            "modules": self.modules,
            "lines": self.lines,
        }

    # --- nodes -----------------------------------------------------------------------------------------------------
    def _node(self, node: Node, kind: str, bytes_of: Callable[[Node], int | None]) -> int:
        names = tuple(self._string(item.name) for item in node.all_input_nodes)
        row = (
            self._string(node.name),
            self._string(kind or _kind(node)),
            self._string(_operator(node)),
            self._string(_arguments(node)),
            self._string("" if node.op == "output" else type_text(node.meta.get("val"))),
            self._string(module_of(node)),
            self._source(node),
            bytes_of(node),
            names,
        )
        return _index(self._nodes, row)

    def _source(self, node: Node) -> int:
        trace = node.meta.get("stack_trace") or ""
        known = self._sources.get(trace)
        if known is None:
            frame, source = source_frame(node), source_of(node) or ""
            if frame is not None:
                self.lines[source] = frame[2]
            known = self._sources[trace] = self._string(source)
        return known

    def _fact(self, node: Node, segments: Container[str] = ()) -> int:
        known = annotations_of(node)
        maker = node.args[0] if is_getitem(node) else node
        called = maker.name.replace("_", "-") if isinstance(maker, Node) else ""
        if called in segments:
            known = {"verdict": "trt", "segment": called}
        if "verdict" not in known:
            return _index(self._facts, ())
        reasons = tuple(
            (self._string(reason["code"]), self._string(reason["message"])) for reason in known.get("reasons", ())
        )
        texts = (self._string(known.get(key) or "") for key in ("because", "segment"))
        return _index(self._facts, (self._string(known["verdict"]), reasons, *texts))

    def _note_modules(self, graph: Graph) -> None:
        for node in graph.nodes:
            for path, kind in (node.meta.get("nn_module_stack") or {}).values():
                if isinstance(path, str) and path not in self.modules:
                    self.modules[path] = (kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2]

    def _string(self, text: str) -> int:
        return _index(self._strings, text)


def _index(table: dict[Any, int], key: Any) -> int:
    return table.setdefault(key, len(table))


def _kind(node: Node) -> str:
    if node.op == "placeholder":
        return "input"
    if node.op in ("output", "get_attr"):
        return "output" if node.op == "output" else "parameter"
    if is_getitem(node):
        return "item"
    return "size" if is_symbolic(node) else "operator"


def _operator(node: Node) -> str:
    if node.op == "call_function":
        return op_name(node.target)
    return "return" if node.op == "output" else str(node.target)


def _arguments(node: Node) -> str:
    if node.op == "output":
        return argument_text(node.args[0])
    if node.op != "call_function":
        return ""
    named = (f"{name}={argument_text(argument)}" for name, argument in node.kwargs.items())
    return ", ".join([*(argument_text(argument) for argument in node.args), *named])


def _bytes_as_exported(node: Node) -> int | None:
    return value_bytes(node.meta.get("val"))


def _ascending_runs(values: Iterable[int]) -> list[int]:
    """First value and length of each run of values that follow each other: 4 5 6 2 becomes 4 3 2 1."""
    return [number for run in _runs(values, step=1) for number in run]


def _equal_runs(values: Iterable[int]) -> list[int]:
    """Value and length of each run of equal values: 7 7 7 1 becomes 7 3 1 1."""
    return [number for run in _runs(values, step=0) for number in run]


def _runs(values: Iterable[int], step: int) -> Iterator[Sequence[int]]:
    run: list[int] = []
    for value in values:
        if run and value == run[0] + step * run[1]:
            run[1] += 1
            continue
        if run:
            yield run
        run = [value, 1]
    if run:
        yield run
