"""The run of a TorchScript model that was compiled in blocks: what became engines, and what stayed TorchScript."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ..analysis.boundary import BoundaryBill
from ..ir.ledger import Ledger, LedgerRow
from ..ir.records import PassRecord, SegmentRecord
from .coverage import ModuleCoverage, module_coverage
from .dump_folder import SCHEMA
from .report import Report, fields_of_run, summary
from .versions import versions

_NOT_THERE = ("which matches nothing in this program.", "which this program does not call.")
"""How notes on names end that a block has nothing of."""


@dataclass(frozen=True)
class ScriptBlock:
    """One part of the model that became a Program.

    Attributes:
        name: of the attribute of the ScriptModule that runs it, such as "block_00".
        report: of its run.
        runs: whether it is called; a block without an engine is not, since TorchScript runs what it was made of.
    """

    name: str
    report: Report
    runs: bool


@dataclass(frozen=True)
class ScriptReport:
    """Everything that was found out about a TorchScript model in blocks.

    Attributes:
        whole: why the model is not one Program.
        blocks: what became Programs, in the order in which they run.
        stayed: what stayed TorchScript: operators on tensors, control flow, state, with the reason and the line.
        settings: of the compilation.
        command: the command line that ran it; "" for a call from Python.
        found: what the metric of `check` says of each method.
        seconds_before: what was done before the blocks, by name, as in `Report.spent`.
    """

    whole: str
    blocks: tuple[ScriptBlock, ...]
    stayed: tuple[LedgerRow, ...]
    settings: dict[str, Any]
    command: str = ""
    seconds_before: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    found: tuple[str, ...] = ()

    @property
    def spent(self) -> dict[str, float]:
        """Seconds of what is not a pass, by name, as in `Report.spent`: those of all blocks together."""
        found = Counter(self.seconds_before)
        for block in self.blocks:
            found.update(block.report.spent)
        return dict(found)

    @property
    def pass_seconds(self) -> float:
        """Seconds of all passes of all blocks together."""
        return sum(block.report.pass_seconds for block in self.blocks)

    @property
    def schema(self) -> int:
        """Version of the layout of `run.json`."""
        return SCHEMA

    @property
    def versions(self) -> dict[str, str]:
        """Versions of what compiled it."""
        return versions()

    @property
    def pipeline(self) -> str:
        """The pipeline that ran on every block; "" without blocks."""
        return self.blocks[0].report.pipeline if self.blocks else ""

    @property
    def passes(self) -> tuple[PassRecord, ...]:
        """The passes of all blocks, called "block_00/decompose"."""
        found = ((block.name, record) for block in self.blocks for record in block.report.passes)
        return tuple(replace(record, name=f"{name}/{record.name}") for name, record in found)

    @property
    def boundary(self) -> BoundaryBill:
        """The tensors that enter and leave each engine on every call."""
        found = ((block.name, engine) for block in self.blocks for engine in block.report.boundary.engines)
        return BoundaryBill(tuple(replace(engine, segment=f"{name}/{engine.segment}") for name, engine in found))

    @property
    def modules(self) -> ModuleCoverage:
        """Coverage by module."""
        return module_coverage(self.ledger)

    @property
    def ledger(self) -> Ledger:
        """The rows of all blocks, whose nodes and segments are called "block_00/relu", and those that stayed."""
        return Ledger((*self._rows(), *self.stayed))

    def _rows(self) -> Iterator[LedgerRow]:
        for block in self.blocks:
            for row in block.report.ledger:
                segment = None if row.segment is None else f"{block.name}/{row.segment}"
                because = None if row.because is None else f"{block.name}/{row.because}"
                yield replace(row, node=f"{block.name}/{row.node}", segment=segment, because=because)

    @property
    def segments(self) -> tuple[SegmentRecord, ...]:
        """The engines of all blocks."""
        found = ((block.name, record) for block in self.blocks for record in block.report.segments)
        return tuple(replace(record, name=f"{name}/{record.name}") for name, record in found)

    @property
    def verdicts(self) -> dict[str, int]:
        """Op nodes per verdict."""
        return self.ledger.counts

    @property
    def coverage(self) -> float:
        """Share of op nodes that went to TensorRT, 0 to 1."""
        return self.ledger.coverage

    @property
    def seconds(self) -> float:
        """Seconds of everything that was measured."""
        return self.pass_seconds + sum(self.spent.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """Why the model is not one Program, and what the runs of the blocks say."""
        everywhere = set.intersection(*(set(block.report.notes) for block in self.blocks)) if self.blocks else set()
        found = (
            f"{block.name}: {note}"
            for block in self.blocks
            for note in block.report.notes
            if not note.endswith(_NOT_THERE) or note in everywhere  # a name may be one of another block's
        )
        return (self.whole, *self.found, *found)

    def why(self) -> str:
        """What stayed TorchScript, or PyTorch in blocks, by line, with the reason; a text for people."""
        inside = [row for row in self._rows() if row.verdict != "trt"]
        reached = [row for row in self.stayed if not _is_unreached(row)]
        lines = [*_grouped(reached, "TorchScript"), *_grouped(inside, "PyTorch")]
        unreached = [row for row in self.stayed if _is_unreached(row)]
        if unreached:
            places = ", ".join(dict.fromkeys(row.source or "an unknown line" for row in unreached))
            lines.append(f"Not reached with these inputs, and so TorchScript: {len(unreached)} op nodes, of {places}.")
        return "\n".join([self.whole, "", *lines]) + "\n"

    def __repr__(self) -> str:
        text = summary(self.verdicts, len(self.segments))
        unreached = sum(map(_is_unreached, self.stayed))
        which = f", {unreached} of them not reached" if unreached else ""
        return f"ScriptReport({text}, {len(self.stayed)} stay TorchScript{which}, {self.seconds:.1f} s)"

    def __str__(self) -> str:
        """What the run found: a headline, a line per engine, and what stayed."""
        engines = (f"{record.name}  {record.ops} op nodes" for record in self.segments)
        return "\n".join([repr(self), *engines, self.why().rstrip("\n")])

    def to_json(self) -> dict[str, Any]:
        """The object that `run.json` holds: the fields of a `Report`, and those of a model in blocks."""
        return {
            **fields_of_run(self),
            "failure": None,
            "whole": self.whole,
            "blocks": [{"name": b.name, "runs": b.runs, "report": b.report.to_json()} for b in self.blocks],
            "stayed": [row.to_json() for row in self.stayed],
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> ScriptReport:
        return self  # as with Report: it never changes, and TensorRT's networks in it cannot be copied


def _is_unreached(row: LedgerRow) -> bool:
    return any("was not reached with these inputs" in reason.message for reason in row.reasons)


def _grouped(rows: Iterable[LedgerRow], where: str) -> list[str]:
    """A line of text for each line of the model and reason, with the operators that stayed for it."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        reasons = " ".join(f"{reason.code}: {reason.message}" for reason in row.reasons)
        found.setdefault((row.source or "an unknown line", reasons), Counter())[row.op] += 1
    lines = []
    for (place, reasons), counts in found.items():
        ops = ", ".join(op if count == 1 else f"{count} {op}" for op, count in counts.items())
        stay = "stays" if sum(counts.values()) == 1 else "stay"
        lines.append(f"{place}: {ops} {stay} {where}. {reasons}")
    return lines
