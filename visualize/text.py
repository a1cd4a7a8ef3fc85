"""The text form of a whole program, and the difference between two of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import torch
from torch.export.graph_signature import InputKind, InputSpec
from torch.fx import Graph, Node

from ..compiler.ir.annotations import annotations_of, reasons_of, segment_of, verdict_of
from ..compiler.ir.graph_diff import graph_diff
from ..compiler.ir.ledger import Verdict
from ..compiler.ir.program import Program
from ..compiler.ir.source import module_of, source_of
from ..compiler.ir.text import node_text, type_text

_KINDS = MappingProxyType(
    {
        InputKind.PARAMETER: "parameter",
        InputKind.BUFFER: "buffer",
        InputKind.CONSTANT_TENSOR: "constant",
        InputKind.CUSTOM_OBJ: "object",
        InputKind.TOKEN: "token",
        InputKind.USER_INPUT: "input",
    }
)


def program_text(program: Program) -> str:
    """The text IR of a program: a header with counts, then one line per node.

    `%addmm = aten.addmm(%bias, %x, %w) : f32[2,16,192]  # segment-00 | layers.0.qkv | model.py:9`. Parameters say what
    they are called in the model; operators that stay in PyTorch show their verdict and reason codes for a segment.
    """
    return "\n".join([*_header(program), "", *_lines(program)]) + "\n"


def graph_text(graph: Graph) -> str:
    """The text IR of a bare fx graph, one line per node."""
    return "".join(f"{node_text(node, _notes(node))}\n" for node in graph.nodes)


def verdict_text(node: Node) -> str:
    """What the ledger says of a node in a few words: "segment-00", "trt", "rejected TP203 TP201"; "" for no verdict."""
    verdict, segment = verdict_of(node), segment_of(node)
    if verdict is None:
        return ""
    if verdict is Verdict.TRT:
        return segment or str(verdict)
    return " ".join([str(verdict), *dict.fromkeys(reason.code for reason in reasons_of(node))])


def program_diff(before: Program, after: Program, names: tuple[str, str] = ("before", "after")) -> str:
    """What turned one program into another, see `graph_diff`; "" if nothing did."""
    return graph_diff(program_text(before), program_text(after), names)


def _header(program: Program) -> list[str]:
    tensors = program.constants
    values = sum(tensor.numel() for tensor in tensors.values())
    nbytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    constants = [s for s in program.input_specs.values() if s.kind is not InputKind.USER_INPUT]
    weights = f"{len(constants)} parameters and constants ({values:,} values, {nbytes:,} bytes)"
    lines = [f"# {len(program.op_nodes)} op nodes, {weights}"]
    lines += [f"# input {node.name}: {type_text(node.meta.get('val'))}" for node in program.user_inputs]
    for symbol, limits in sorted(program.exported.range_constraints.items(), key=lambda item: str(item[0])):
        lines.append(f"# {symbol} in [{limits.lower}, {limits.upper}]")
    counts = program.ledger.counts
    if any(counts.values()):
        lines.append(f"# verdicts: {', '.join(f'{count} {name}' for name, count in counts.items() if count)}")
    precisions = Counter(annotations_of(node).get("precision") for node in program.op_nodes)
    lines += [f"# {count} products in {name}" for name, count in precisions.items() if name]
    lines += [
        f"# {segment.name}: {len(segment.nodes)} ops, in {_names(segment.inputs)}, out {_names(segment.outputs)}"
        for segment in program.segments
    ]
    return lines


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"%{name}" for name in names) or "none"


def _lines(program: Program) -> Iterator[str]:
    specs = program.input_specs
    for node in program.graph.nodes:
        if node.op == "placeholder":
            yield _placeholder_text(node, specs[node.name])
        else:
            yield node_text(node, _notes(node))


def _placeholder_text(node: Node, spec: InputSpec) -> str:
    target = f"  # {spec.target}" if spec.target else ""
    return f"%{node.name} = {input_kind(spec)} : {_value_type(node)}{target}"


def input_kind(spec: InputSpec) -> str:
    """What a placeholder stands for in a word: "parameter", "buffer", "constant", "object", "token" or "input"."""
    return _KINDS[spec.kind]


def _value_type(node: Node) -> str:
    value = node.meta.get("val")
    return type_text(value) if isinstance(value, torch.Tensor | torch.SymInt) or value is None else repr(value)


def _notes(node: Node) -> tuple[str, ...]:
    return verdict_text(node), module_of(node), source_of(node) or ""


def counts_text(counts: Mapping[str, int]) -> str:
    """Verdict counts in a few words: "312 trt, 2 rejected"."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count and name)
