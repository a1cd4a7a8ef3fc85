"""Two profiles compared: by line, by module, by operator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .profile import Place, Profile, us_text


@dataclass(frozen=True)
class PlaceChange:
    """A line or module in both profiles: microseconds before and after, 0 where it is not there."""

    name: str
    before_us: float
    after_us: float

    @property
    def more_us(self) -> float:
        """By how much it became slower."""
        return self.after_us - self.before_us


def changes(before: Iterable[Place], after: Iterable[Place]) -> tuple[PlaceChange, ...]:
    """What changed, the largest difference first."""
    left, right = ({place.name: place.us for place in side} for side in (before, after))
    rows = [PlaceChange(name, left.get(name, 0.0), right.get(name, 0.0)) for name in {**left, **right}]
    return tuple(sorted(rows, key=lambda row: (-abs(row.more_us), row.name)))


def diff_json(before: Profile, after: Profile) -> dict[str, Any]:
    """The difference as a JSON object."""
    return {
        "call_us": [before.call_us, after.call_us],
        "busy_us": [before.busy_us, after.busy_us],
        "idle_us": [before.idle_us, after.idle_us],
        "host_us": [before.host_us, after.host_us],
        "lines": [vars(row) for row in changes(before.lines(), after.lines())],
        "modules": [vars(row) for row in changes(before.modules(), after.modules())],
    }


def diff_text(before: Profile, after: Profile, most: int = 15) -> str:
    """The difference as a table: totals, then the lines and modules whose run time changed most."""
    lines = ["run time of one call" + ("" if before.device == after.device else f" ({before.device} | {after.device})")]
    if before.measured != after.measured:
        lines.append(f"different things were measured: {before.measured} | {after.measured}")
    for name in ("call_us", "busy_us", "idle_us", "host_us"):
        lines.append(_row(name.removesuffix("_us"), getattr(before, name), getattr(after, name)))
    for title, left, right in (
        ("by line", before.lines(), after.lines()),
        ("by module", before.modules(), after.modules()),
    ):
        rows = [row for row in changes(left, right) if abs(row.more_us) >= 0.05]
        lines.append(f"{title}{'' if rows else ': nothing changed'}")
        lines += [_row(row.name or "(the model itself)", row.before_us, row.after_us) for row in rows[:most]]
        if len(rows) > most:
            rest = sum(row.more_us for row in rows[most:])
            lines.append(f"  {_signed(rest):>11}  in {len(rows) - most} more")
    return "\n".join(lines)


def _row(name: str, before: float, after: float) -> str:
    percent = f" ({100 * (after - before) / before:+.0f} %)" if before else ""
    return f"  {_signed(after - before):>11}  {name}: {us_text(before)} -> {us_text(after)}{percent}"


def _signed(us: float) -> str:
    return f"{'-' if us < 0 else '+'}{us_text(abs(us))}"
