"""The report of a model that was saved: as data, and with the attributes that a `Report` has of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ...ir.records import SegmentRecord


class SavedReport(dict[str, Any]):
    """The object that `run.json` holds. Its fields are attributes too, and so is what follows from them.

    Pictures, tables and the ledger are there in the process that compiled, and in its dump.
    """

    @property
    def segments(self) -> tuple[SegmentRecord, ...]:
        """The engines."""
        rows = ({**row, "inputs": tuple(row["inputs"]), "outputs": tuple(row["outputs"])} for row in self["segments"])
        return tuple(SegmentRecord(**row) for row in rows)

    @property
    def passes(self) -> tuple[SimpleNamespace, ...]:
        """The passes that ran: name, stage, seconds, and `changes` as counts."""
        return tuple(SimpleNamespace(**row) for row in self["passes"])

    @property
    def coverage(self) -> float:
        """Share of op nodes that went to TensorRT, 0 to 1 (1 for a graph without op nodes)."""
        nodes = sum(self.verdicts.values())
        return float(self.verdicts["trt"] / nodes) if nodes else 1.0

    @property
    def seconds(self) -> float:
        """Seconds of everything that was measured; of the passes, in a file that says no more."""
        measured = self.get("seconds")
        if isinstance(measured, dict) and "total" in measured:
            return float(measured["total"])
        return float(sum(record.seconds for record in self.passes))

    def __repr__(self) -> str:
        engines = len(self["segments"])
        words = f"{engines} engine{'' if engines == 1 else 's'}"
        return f"SavedReport({self.verdicts['trt']} of {sum(self.verdicts.values())} op nodes in TensorRT, {words})"

    def __str__(self) -> str:
        """A headline, a line per engine, and the notes."""
        engines = (f"{record.name}  {record.ops} op nodes" for record in self.segments)
        return "\n".join([repr(self), *engines, *(f"note: {note}" for note in self.get("notes", ()))])

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"a saved report has no {name!r}; it has {', '.join(self)}, coverage and seconds")
