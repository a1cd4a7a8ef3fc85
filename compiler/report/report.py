"""The run as data: what `run.json` holds and the command line prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.fx import GraphModule, Node

from ..analysis.tensor_bytes import bytes_text
from ..ir.ledger import Ledger, LedgerRow
from ..ir.notebook import ShownInNotebooks
from ..ir.program import Program
from ..ir.quantisation import Quantisation
from ..ir.records import PassRecord, SegmentRecord
from .coverage import ModuleCoverage, module_coverage
from .table import Table

if TYPE_CHECKING:
    import pandas

    from ..analysis.boundary import BoundaryBill
    from ..analysis.islands import Island


@dataclass(frozen=True)
class Report(ShownInNotebooks):
    """Everything that a run found out.

    `notes` are sentences that a user must see: segments that failed, precision changes, what was narrowed. `failure`
    is set when the run ended early. `spent` has the seconds of what is not a pass, by name: "import" and "load" (on the
    command line), "export", every instrument such as "dump", "save", and "manager" for comparing graphs.
    """

    program: Program = field(repr=False)
    pipeline: str
    settings: dict[str, Any]
    versions: dict[str, str]
    passes: tuple[PassRecord, ...]
    ledger: Ledger = field(repr=False)
    segments: tuple[SegmentRecord, ...]
    notes: tuple[str, ...] = ()
    command: str = ""
    failure: str | None = None
    spent: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    shown_by: ClassVar[str] = "report_bundle"

    @property
    def schema(self) -> int:
        """Version of the layout of `run.json`."""
        from .dump_folder import SCHEMA

        return SCHEMA

    @property
    def verdicts(self) -> dict[str, int]:
        """Op nodes per verdict."""
        return self.ledger.counts

    @property
    def coverage(self) -> float:
        """Share of op nodes that went to TensorRT, 0 to 1."""
        return self.ledger.coverage

    @property
    def compiled(self) -> GraphModule | None:
        """The compiled module, once `splice` ran."""
        return self.program.compiled

    @property
    def seconds(self) -> float:
        """Seconds of everything that was measured: the passes, and what else is in `spent`."""
        return self.pass_seconds + sum(self.spent.values())

    @property
    def pass_seconds(self) -> float:
        """Seconds of all passes together."""
        return sum(record.seconds for record in self.passes)

    def with_spent(self, **seconds: float) -> Report:
        """The report with the seconds of more that was done."""
        report = replace(self, spent=MappingProxyType({**self.spent, **seconds}))
        found = ("boundary", "islands", "modules")  # what was worked out already
        vars(report).update({name: vars(self)[name] for name in found if name in vars(self)})
        return report

    @cached_property
    def boundary(self) -> BoundaryBill:
        """The tensors that enter and leave each engine on every call, with bytes and casts."""
        from ..analysis.boundary import boundary_bill

        return boundary_bill(self.program, self.islands)

    @cached_property
    def islands(self) -> tuple[Island, ...]:
        """What PyTorch runs between the engines, in an order in which they can run; none before `partition`."""
        from ..analysis.islands import islands

        return islands(self.program) if self.program.segments else ()

    @cached_property
    def modules(self) -> ModuleCoverage:
        """Coverage by module; `module_coverage(report.ledger, errors, seconds)` adds what was measured."""
        return module_coverage(self.ledger)

    @property
    def quantisation(self) -> Quantisation | None:
        """What `quantize` did to the model, and the error of each layer; None if it was not asked."""
        return self.program.quantisation

    def table(self) -> Table:
        """One row per engine, and one per verdict of what stays in PyTorch: op nodes, bytes per call, engine size."""
        total = max(1, len(self.ledger))
        bills = {engine.segment: engine for engine in self.boundary.engines}
        rows = []
        for record in self.segments:
            bill = bills.get(record.name)
            crossing = [bytes_text(bill.input_bytes), bytes_text(bill.output_bytes)] if bill else ["", ""]
            size = "" if record.engine_bytes is None else bytes_text(record.engine_bytes)
            rows.append((record.name, "trt", f"{record.ops:,}", _share(record.ops, total), *crossing, size))
        for verdict, count in self.verdicts.items():
            if count and (verdict != "trt" or not self.segments):
                place = "TensorRT" if verdict == "trt" else "PyTorch"
                rows.append((place, verdict, f"{count:,}", _share(count, total), "", "", ""))
        columns = ("where", "verdict", "op nodes>", "share>", "bytes in>", "bytes out>", "engine>")
        return Table(columns, tuple(rows))

    def precisions(self) -> Table:
        """One row per module: how many of its op nodes compute in which type, casts not counted.

        Modules are in the order in which they first compute something; those in a module have rows of their own.
        """
        modules = {row.node: row.module or "(model)" for row in self.ledger}
        counts: dict[str, dict[str, int]] = {}
        for node in self.program.op_nodes:
            kind = _computed_type(node)
            if node.name in modules and kind is not None:
                row = counts.setdefault(modules[node.name], {})
                row[kind] = row.get(kind, 0) + 1
        kinds = sorted({kind for row in counts.values() for kind in row})
        rows = [(name, *(f"{row.get(kind, 0):,}" for kind in kinds)) for name, row in counts.items()]
        return Table(("module", *(f"{kind}>" for kind in kinds)), tuple(rows))

    def to_pandas(self) -> pandas.DataFrame:
        """The ledger as a DataFrame, see `Ledger.to_pandas`."""
        return self.ledger.to_pandas()

    def show(self, what: str = "overview") -> None:
        """Display a picture or a table in a notebook; print it as text elsewhere.

        Args:
            what: "overview", "graph", "table", "why", "boundary", "modules", or the name of a segment.

        Raises:
            UserError: there is nothing of that name.
        """
        self._display(what)

    def why(self) -> str:
        """What stayed in PyTorch, by node, with its line and the reasons; a text for people."""
        rows = [row for row in self.ledger if row.verdict != "trt"]
        lines = stayed_lines(rows, "in PyTorch") or ["All of it is in TensorRT."]
        return "\n".join(["The model is one graph.", *lines]) + "\n"

    def __repr__(self) -> str:
        parts = [summary(self.verdicts, len(self.segments)), f"{self.seconds:.1f} s"]
        parts += [f"failed: {self.failure}"] if self.failure else []
        return f"Report({', '.join(parts)})"

    def __str__(self) -> str:
        """What the run found: a headline, the table, and the notes."""
        lines = [repr(self), str(self.table())] if len(self.ledger) else [repr(self)]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def __deepcopy__(self, memo: dict[int, Any]) -> Report:
        # Compiled modules carry their report; it never changes, and TensorRT's networks in it cannot be copied.
        return self

    def to_json(self) -> dict[str, Any]:
        """The object that `run.json` holds."""
        quantisation = {} if self.quantisation is None else {"quantisation": self.quantisation.to_json()}
        return {**fields_of_run(self), **quantisation, "failure": self.failure}


def _computed_type(node: Node) -> str | None:
    """The type of what a node computes; None for casts, sizes and nodes of several results."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or node.target is torch.ops.aten._to_copy.default:
        return None
    return str(value.dtype).removeprefix("torch.")


def fields_of_run(report: Any) -> dict[str, Any]:
    """What `run.json` has of every run: of this report, and of that of a TorchScript model in blocks."""
    return {
        "schema": report.schema,
        "versions": report.versions,
        "command": report.command,
        "pipeline": report.pipeline,
        "settings": report.settings,
        "passes": [record.to_json() for record in report.passes],
        "seconds": {**report.spent, "passes": report.pass_seconds, "total": report.seconds},
        "verdicts": report.verdicts,
        "segments": [record.to_json() for record in report.segments],
        "boundary": report.boundary.to_json(),
        "notes": list(report.notes),
    }


def summary(verdicts: Mapping[str, int], engines: int) -> str:
    """A run in a few words: "132 of 134 op nodes in TensorRT, 2 engines"."""
    words = f"{engines} engine{'' if engines == 1 else 's'}"
    return f"{verdicts['trt']} of {sum(verdicts.values())} op nodes in TensorRT, {words}"


def stayed_lines(rows: Iterable[LedgerRow], where: str) -> list[str]:
    """A line of text for each node that stayed, such as "in PyTorch": its line of the model, and the reasons."""
    lines = []
    for row in rows:
        reasons = " ".join(f"{reason.code}: {reason.message}" for reason in row.reasons)
        lines.append(f"{row.source or 'an unknown line'}: {row.op} stays {where}. {reasons}")
    return lines


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %"
