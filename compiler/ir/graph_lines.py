"""Reading the text IR of a `graph.txt` back: one `NodeLine` per node. Needs no PyTorch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_NODE = re.compile(r"%(?P<name>\S+) = (?P<op>[^\s(]+)(?P<rest>.*)")
_REFERENCE = re.compile(r"%([A-Za-z_]\w*)")
_VERDICT = re.compile(r"segment-\d+|trt|(unsupported|rejected|demoted|excluded|failed)( TP\d+)*")
_SOURCE = re.compile(r".+:\d+")
_SEPARATOR = "  # "


@dataclass(frozen=True)
class NodeLine:
    """One line of text IR.

    Attributes:
        name: of the node; "return" for the line of the graph's results.
        op: such as "aten.addmm"; "input", "parameter", … for placeholders.
        text: the line without verdict, module and source line.
        verdict: what the ledger says in a few words, such as "segment-00"; "" for none.
        module, source: where it comes from; "" where that is not known.
        reads: names of the nodes it reads, in order, repeated as in the line.
    """

    name: str
    op: str
    text: str
    verdict: str
    module: str
    source: str
    reads: tuple[str, ...]

    @property
    def plain(self) -> str:
        """The line without its verdict."""
        notes = " | ".join(note for note in (self.module, self.source) if note)
        return f"{self.text}{_SEPARATOR}{notes}" if notes else self.text

    @property
    def is_op(self) -> bool:
        """Whether it is an op node: neither a placeholder nor the results."""
        return self.text.partition(" = ")[2].startswith(f"{self.op}(") and self.op != "get_attr"

    @classmethod
    def parse(cls, line: str) -> NodeLine:
        """The node of a line that is neither empty nor a comment."""
        text, separator, remarks = line.rpartition(_SEPARATOR)
        if not separator:
            text, remarks = line, ""
        match = _NODE.fullmatch(text)
        name, op, rest = (match["name"], match["op"], match["rest"]) if match else ("return", "return", text)
        if not rest.startswith("(") and match is not None:
            return cls(name, op, text, "", remarks, "", ())
        notes = remarks.split(" | ") if remarks else []
        verdict = notes.pop(0) if notes and _VERDICT.fullmatch(notes[0]) else ""
        source = notes.pop() if notes and _SOURCE.fullmatch(notes[-1]) else ""
        return cls(name, op, text, verdict, " | ".join(notes), source, tuple(_REFERENCE.findall(rest)))


def parse_graph(text: str) -> dict[str, NodeLine]:
    """The nodes of a `graph.txt` by name, in graph order."""
    lines = (NodeLine.parse(line) for line in text.splitlines() if line and not line.startswith("#"))
    return {line.name: line for line in lines}


def replacements(before: dict[str, NodeLine], after: dict[str, NodeLine]) -> dict[str, tuple[str, ...]]:
    """What took the place of every node that is gone: the nodes that its readers read now.

    Where its readers are gone too, these are the new nodes of the same module and source line. Empty where there are
    none: nothing needed the node.
    """
    gone = [name for name in before if name not in after]
    found: dict[str, dict[str, None]] = {name: {} for name in gone}
    for name, line in after.items():
        old = before.get(name)
        if old is None or old.reads == line.reads:
            continue
        pairs: Iterable[tuple[str, str]]
        if len(old.reads) == len(line.reads):
            pairs = zip(old.reads, line.reads, strict=True)
        else:
            new = [item for item in line.reads if item not in old.reads]
            pairs = ((item, other) for item in old.reads if item not in line.reads for other in new)
        for was, now in pairs:
            if was in found:
                found[was][now] = None
    for name in gone:
        if before[name].op == "getitem" and before[name].reads[0] in found:
            found[before[name].reads[0]].update(found[name])
    created: dict[tuple[str, str], list[str]] = {}
    for name, line in after.items():
        if name not in before and line.source:
            created.setdefault((line.module, line.source), []).append(name)
    return {
        name: tuple(found[name]) or tuple(created.get((before[name].module, before[name].source), ())) for name in gone
    }
