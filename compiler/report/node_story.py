"""One node's story, from a dump folder: where it came from, what each pass made of it, and where it runs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ..errors import UserError, did_you_mean
from ..ir.graph_lines import NodeLine, replacements
from ..ir.ledger import LedgerRow, Verdict
from ..ir.reasons import REASON_CODES
from .dump_folder import DumpFolder

_NAMED = 6

Graph = dict[str, NodeLine]


def node_story(dump: DumpFolder, name: str) -> str:
    """Everything a dump says about one node, given as `addmm` or `%addmm`, also if a pass erased it.

    Raises:
        UserError: no graph of the run has such a node.
    """
    name = name.removeprefix("%")
    lines = {item: line for _, graph in dump.graphs for item, line in graph.items() if item != "return"}
    if name not in lines and dump.blocks:
        return _stayed(dump, name)
    if name not in lines:
        raise UserError(f"{dump.folder} has no op node {name!r}.{did_you_mean(name, lines)}")
    rows = {row.node: row for row in dump.ledger} if (dump.path / "ledger.jsonl").exists() else {}
    row = rows.get(name)
    parts = [*_head(dump, lines[name], row), *_passes(dump, name)]
    if row is not None:
        parts += _tensorrt(dump, row)
    elif name not in dump.graphs[-1][1]:
        parts += _heirs(dump, name, rows)
    return "\n".join(parts)


def _stayed(dump: DumpFolder, name: str) -> str:
    """The same of what stayed TorchScript, around blocks."""
    rows = {row.node.removeprefix("%"): row for row in dump.ledger}
    if name not in rows:
        raise UserError(f"{dump.folder} has no op node {name!r}.{did_you_mean(name, rows)}")
    row = rows[name]
    lines = [f"%{name} = {row.op}: stays TorchScript", f"  line:    {row.source or 'unknown'}"]
    return "\n".join([*lines, *([f"  module:  {row.module}"] if row.module else []), *_reasons(row)])


def _head(dump: DumpFolder, line: NodeLine, row: LedgerRow | None) -> Iterator[str]:
    if row is None:
        last = dump.graphs[-1][1]
        fate = "no verdict" if line.name in last else "erased, see below"
        yield f"%{line.name} = {line.op}: {fate if line.is_op else 'not an op node'}"
    else:
        yield f"%{row.node} = {row.op}: {row.verdict}{f' in {row.segment}' if row.segment else ''}"
    source = (row.source if row else None) or line.source
    module = row.module if row else line.module
    yield from [f"  line:    {source}"] if source else []
    yield from [f"  module:  {module}"] if module and line.is_op else []
    yield from [f"  in the model: {module}"] if module and not line.is_op else []
    yield from _reasons(row) if row is not None else []


def _reasons(row: LedgerRow) -> Iterator[str]:
    if row.because:
        yield f"  because: of %{row.because}"
    for reason in row.reasons:
        known = REASON_CODES.get(reason.code)
        title = f"{known.title}: " if known else ""
        yield f"  {reason.code}:   {title}{reason.message}"
    for code in dict.fromkeys(reason.code for reason in row.reasons):
        if code in REASON_CODES:
            yield f"  What to do about {code}: {REASON_CODES[code].remedy}"


# --- what each pass made of it -------------------------------------------------------------------------------------
def _passes(dump: DumpFolder, name: str) -> Iterator[str]:
    yield "Passes"
    width = max(len(stage.path.name) for stage, _ in dump.graphs)
    before: Graph = {}
    for stage, graph in dump.graphs:
        for index, event in enumerate(_events(name, before, graph)):
            yield f"  {'' if index else stage.path.name:{width}}  {event}"
        before = graph


def _events(name: str, before: Graph, after: Graph) -> Iterator[str]:
    old, new = before.get(name), after.get(name)
    if new is None:
        if old is not None:
            yield _erased_text(_successors(before, after)[name], before)
        return
    if old is None:
        origins = [gone for gone, heirs in _successors(before, after).items() if name in heirs]
        if before:
            yield f"created{f' in place of {_listed(origins)}' if origins else ''}"
        yield new.text
    elif old.text != new.text:
        gone = [item for item in dict.fromkeys(old.reads) if item not in new.reads]
        now = [item for item in dict.fromkeys(new.reads) if item not in old.reads]
        yield f"rewired: reads {_listed(now)} instead of {_listed(gone)}" if gone and now else "rewritten"
        yield new.text
    was = old.verdict if old is not None else ""
    if was != new.verdict:
        yield f"{was or 'no verdict'} → {new.verdict or 'no verdict'}"


def _successors(before: Graph, after: Graph) -> dict[str, list[str]]:
    """`replacements`, in which an operator with several results stands for the `getitem` that picks one of them."""
    found = {}
    for name, heirs in replacements(before, after).items():
        new_results = {heir for heir in heirs if after[heir].op == "getitem" and heir not in before}
        found[name] = list(dict.fromkeys(after[heir].reads[0] if heir in new_results else heir for heir in heirs))
    return found


def _erased_text(heirs: list[str], before: Graph) -> str:
    if not heirs:
        return "erased: nothing needed it"
    if all(heir in before for heir in heirs):
        return f"erased: what read it now reads {_listed(heirs)}"
    return f"erased: {_listed(heirs)} took its place"


def _heirs(dump: DumpFolder, name: str, rows: dict[str, LedgerRow]) -> Iterator[str]:
    """What an erased node has become by the end of the run."""
    current = [name]
    for (_, before), (_, after) in pairwise(dump.graphs):
        heirs = _successors(before, after)
        current = list(dict.fromkeys(item for old in current for item in heirs.get(old, [old])))
    found = [rows[item] for item in current if item in rows]
    if found:
        yield "What it became"
    for row in found[:_NAMED]:
        yield f"  %{row.node} = {row.op}: {row.verdict}{f' in {row.segment}' if row.segment else ''}"


def _listed(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(f"%{name}" for name in names[:_NAMED]) + more


# --- TensorRT ------------------------------------------------------------------------------------------------------
def _tensorrt(dump: DumpFolder, row: LedgerRow) -> Iterator[str]:
    if row.verdict is not Verdict.TRT or row.segment is None:
        return
    segments = {item["name"]: item for item in dump.run.get("segments", ())}
    ops = segments.get(row.segment, {}).get("ops")
    yield f"It runs in TensorRT, in {row.segment}{f' with {ops - 1} other op nodes' if ops else ''}."
    layers = dump.network_layers(row.segment, row.node)
    if layers:
        yield "TensorRT layers"
        yield from (f"  {layer}" for layer in layers)
    kernels = dump.kernels(row.segment, row.node)
    if kernels:
        yield "Kernels"
    for kernel in kernels:
        others = [name for name in kernel["nodes"] if name != row.node]
        fused = f", fused with {_listed(others)}" if others else ""
        yield f"  {kernel['name']} ({kernel['type']}){fused}"
        ports = [", ".join(kernel.get(key, ())) for key in ("inputs", "outputs")]
        yield from [f"      {ports[0] or 'nothing'} → {ports[1]}"] if ports[1] else []
        yield from [f"      tactic {kernel['tactic']}"] if "tactic" in kernel else []
