"""The run as data: what `run.json` holds and the command line prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch.fx import GraphModule

from .change import Change
from .ledger import Ledger
from .program import Program

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
    """One engine: op nodes in it, tensors across its border (as type text), bytes and seconds of its build."""

    name: str
    ops: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    engine_bytes: int | None = None
    build_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ops": self.ops,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "engine_bytes": self.engine_bytes,
            "build_seconds": self.build_seconds,
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

    def __deepcopy__(self, memo: dict[int, Any]) -> Report:
        # Compiled modules carry their report; it never changes, and TensorRT's networks in it cannot be copied.
        return self

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """The overview as SVG, and as text, for notebooks."""
        from ..visualize import mimebundle

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
            "notes": list(self.notes),
            "failure": self.failure,
        }
