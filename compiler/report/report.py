"""The run as data: what `run.json` holds and the command line prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch.fx import GraphModule

from ..ir.change import Change
from ..ir.ledger import Ledger
from ..ir.program import Program
from .coverage import ModuleCoverage, module_coverage

if TYPE_CHECKING:
    import pandas

    from ...visualize.table import Table
    from ..analysis import BoundaryBill, Island

SCHEMA = 1
"""Version of the layout of `run.json`; it grows when a field changes its meaning or goes away."""


@dataclass(frozen=True)
class PassRecord:
    """One pass that ran: its name, stage, seconds and what it changed."""

    name: str
    stage: str
    seconds: float
    changes: Change

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "stage": self.stage, "seconds": self.seconds, "changes": self.changes.counts()}


@dataclass(frozen=True)
class SegmentRecord:
    """One engine: op nodes in it, tensors across its border (as type text), bytes and seconds of its build.

    `cached` is True where the engine cache had it, False where it did not, and None without a cache.
    """

    name: str
    ops: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    engine_bytes: int | None = None
    build_seconds: float | None = None
    cached: bool | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ops": self.ops,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "engine_bytes": self.engine_bytes,
            "build_seconds": self.build_seconds,
            "cached": self.cached,
        }


@dataclass(frozen=True)
class Report:
    """Everything that a run found out.

    `notes` are sentences that a user must see: segments that failed, precision changes, what was narrowed. `failure`
    is set when the run ended early.
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

    @property
    def schema(self) -> int:
        """Version of the layout of `run.json`."""
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
        """Seconds of all passes together."""
        return sum(record.seconds for record in self.passes)

    @cached_property
    def boundary(self) -> BoundaryBill:
        """The tensors that enter and leave each engine on every call, with bytes and casts."""
        from ..analysis import boundary_bill

        return boundary_bill(self.program, self.islands)

    @cached_property
    def islands(self) -> tuple[Island, ...]:
        """What PyTorch runs between the engines, in an order in which they can run; none before `partition`."""
        from ..analysis import islands

        return islands(self.program) if self.program.segments else ()

    @cached_property
    def modules(self) -> ModuleCoverage:
        """Coverage by module; `module_coverage(report.ledger, errors, seconds)` adds what was measured."""
        return module_coverage(self.ledger)

    def table(self) -> Table:
        """One row per engine, and one per verdict of what stays in PyTorch."""
        from ...visualize.table import report_table

        return report_table(self)

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
        from ...visualize.notebook import show

        show(self, what)

    def __deepcopy__(self, memo: dict[int, Any]) -> Report:
        # Compiled modules carry their report; it never changes, and TensorRT's networks in it cannot be copied.
        return self

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """The overview as SVG, and as text, for notebooks."""
        from ...visualize import mimebundle

        return mimebundle(self.program, "report")

    def to_json(self) -> dict[str, Any]:
        """The object that `run.json` holds."""
        return {
            "schema": self.schema,
            "versions": self.versions,
            "command": self.command,
            "pipeline": self.pipeline,
            "settings": self.settings,
            "passes": [record.to_json() for record in self.passes],
            "verdicts": self.verdicts,
            "segments": [record.to_json() for record in self.segments],
            "boundary": self.boundary.to_json(),
            "notes": list(self.notes),
            "failure": self.failure,
        }
