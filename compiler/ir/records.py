"""What a run says of each pass and of each engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .change import Change


@dataclass(frozen=True)
class PassRecord:
    """One pass that ran: its name, stage, seconds and what it changed.

    `undone` says why the pass failed, where the run went on without it. `made` says what it made that is not in the
    graph, such as "2 engines, 3.4 MiB".
    """

    name: str
    stage: str
    seconds: float
    changes: Change
    undone: str | None = None
    made: str = ""

    @property
    def done(self) -> str:
        """What the pass did, in a few words."""
        if self.undone is not None:
            return "failed and was undone"
        return ", ".join(filter(None, (self.made, "" if self.made and self.changes.empty else str(self.changes))))

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "stage": self.stage,
            "seconds": self.seconds,
            "changes": self.changes.counts(),
            "undone": self.undone,
            "made": self.made,
        }


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
