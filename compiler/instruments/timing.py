"""`Timing`: seconds and peak memory of every pass."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass

from .protocol import Instrument, Step


@dataclass(frozen=True)
class PassTime:
    """Seconds of a pass, and the process's largest resident memory up to its end, in bytes."""

    name: str
    seconds: float
    peak_bytes: int


class Timing(Instrument):
    """Records a `PassTime` per pass in `rows`; `str(timing)` is a table."""

    def __init__(self) -> None:
        self.rows: list[PassTime] = []

    def after_pass(self, step: Step) -> None:
        self.rows.append(PassTime(step.item.name, step.seconds, peak_memory()))

    @property
    def seconds(self) -> float:
        """Seconds of all passes."""
        return sum(row.seconds for row in self.rows)

    def __str__(self) -> str:
        lines = [f"{'pass':32} {'seconds':>8} {'peak MB':>8}"]
        lines += [f"{row.name:32} {row.seconds:8.3f} {row.peak_bytes / 1e6:8.0f}" for row in self.rows]
        return "\n".join([*lines, f"{'total':32} {self.seconds:8.3f}"])


def peak_memory() -> int:
    """Largest resident set size of this process so far, in bytes (getrusage: kilobytes on Linux, bytes on macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
