"""The text form of a whole program, and the difference between two of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import torch
from torch.export.graph_signature import InputKind, InputSpec
from torch.fx import Graph, Node

from ..compiler.annotations import reasons_of, segment_of, verdict_of
from ..compiler.ledger import Verdict
from ..compiler.program import Program
from ..compiler.source import module_of, source_of
from ..compiler.text import node_text, type_text

CONTEXT = 3
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
    """What turned one program into another, in two parts; "" if nothing did.

    First a unified diff of the text without verdicts. Then the verdicts and segments that changed, with runs of nodes
    that changed in the same way on one line, so that an analysis pass over a thousand nodes reads in a dozen lines.
    """
    old, new = _plain_lines(before), _plain_lines(after)
    parts = [*_unified(old, new, names), *_annotation_changes(before, after)]
    return "".join(f"{line}\n" for line in parts)


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


def _plain_lines(program: Program) -> list[str]:
    specs = program.input_specs
    return [
        _placeholder_text(node, specs[node.name])
        if node.op == "placeholder"
        else node_text(node, (module_of(node), source_of(node) or ""))
        for node in program.graph.nodes
    ]


def _placeholder_text(node: Node, spec: InputSpec) -> str:
    target = f"  # {spec.target}" if spec.target else ""
    return f"%{node.name} = {_KINDS[spec.kind]} : {_value_type(node)}{target}"


def _value_type(node: Node) -> str:
    value = node.meta.get("val")
    return type_text(value) if isinstance(value, torch.Tensor | torch.SymInt) or value is None else repr(value)


def _notes(node: Node) -> tuple[str, ...]:
    return verdict_text(node), module_of(node), source_of(node) or ""


# --- difference ----------------------------------------------------------------------------------------------------
def _unified(old: list[str], new: list[str], names: tuple[str, str]) -> list[str]:
    """Unified diff of lines that occur once each, as the lines of a graph do: n log n by longest increasing run."""
    kept = _common(old, new)
    edits: list[tuple[str, int, int, str]] = []
    start_old = start_new = 0
    for stop_old, stop_new in [*kept, (len(old), len(new))]:
        edits += [("-", i, start_new, old[i]) for i in range(start_old, stop_old)]
        edits += [("+", stop_old, i, new[i]) for i in range(start_new, stop_new)]
        if stop_old < len(old):
            edits.append((" ", stop_old, stop_new, old[stop_old]))
        start_old, start_new = stop_old + 1, stop_new + 1
    changed = [index for index, edit in enumerate(edits) if edit[0] != " "]
    if not changed:
        return []
    lines = [f"--- {names[0]}", f"+++ {names[1]}"]
    for first, last in _hunks(changed, len(edits)):
        hunk = edits[first:last]
        count_old = sum(edit[0] != "+" for edit in hunk)
        count_new = sum(edit[0] != "-" for edit in hunk)
        lines.append(f"@@ -{hunk[0][1] + 1},{count_old} +{hunk[0][2] + 1},{count_new} @@")
        lines += [f"{edit[0]}{edit[3]}" for edit in hunk]
    return lines


def _common(old: list[str], new: list[str]) -> list[tuple[int, int]]:
    """Pairs of positions of equal lines, growing in both, as many as possible."""
    where = {line: index for index, line in enumerate(new)}
    pairs = [(index, where[line]) for index, line in enumerate(old) if line in where]
    tails: list[int] = []
    ends: list[int] = []
    previous: list[int] = []
    for index, (_, position) in enumerate(pairs):
        slot = bisect_left(tails, position)
        previous.append(ends[slot - 1] if slot else -1)
        tails[slot : slot + 1], ends[slot : slot + 1] = [position], [index]
    run: list[tuple[int, int]] = []
    index = ends[-1] if ends else -1
    while index >= 0:
        run.append(pairs[index])
        index = previous[index]
    return run[::-1]


def _hunks(changed: list[int], count: int) -> Iterator[tuple[int, int]]:
    first = last = changed[0]
    for index in [*changed[1:], count + 2 * CONTEXT + 1]:
        if index - last > 2 * CONTEXT:
            yield max(0, first - CONTEXT), min(count, last + CONTEXT + 1)
            first = index
        last = index


def _annotation_changes(before: Program, after: Program) -> list[str]:
    old = {node.name: verdict_text(node) for node in before.op_nodes}
    moves = [(node.name, old.get(node.name, ""), verdict_text(node)) for node in after.op_nodes]
    runs: list[tuple[tuple[str, str], list[str]]] = []
    for name, was, now in moves:
        if runs and runs[-1][0] == (was, now):
            runs[-1][1].append(name)
        else:
            runs.append(((was, now), [name]))
    lines = [_run_text(names, *move) for move, names in runs if move[0] != move[1]]
    total = sum(was != now for _, was, now in moves)
    return [f"# annotations: {total} op nodes", *lines] if lines else []


def _run_text(names: list[str], was: str, now: str) -> str:
    which = f"%{names[0]}" if len(names) == 1 else f"%{names[0]} to %{names[-1]} ({len(names)} nodes)"
    return f"~ {which}: {was or 'none'} -> {now or 'none'}"


def counts_text(counts: Mapping[str, int]) -> str:
    """Verdict counts in a few words: "312 trt, 2 rejected"."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count and name)
