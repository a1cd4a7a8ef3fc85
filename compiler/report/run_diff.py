"""Two dumped runs compared: settings, versions, verdicts, segments. Needs no PyTorch."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..ir.ledger import LedgerRow, Verdict
from .dump_folder import DumpFolder

_LISTED = 20
_NAMED = 3

_Key: TypeAlias = Callable[[LedgerRow], Hashable]


@dataclass(frozen=True)
class Moved:
    """A node that both runs have, with different verdicts. `before` and `after` are its rows; names may differ."""

    before: LedgerRow
    after: LedgerRow

    def to_json(self) -> dict[str, Any]:
        """JSON-able values: both names, what the node is, both verdicts, and the reasons of the second run."""
        return {
            "node": self.before.node,
            "node_after": self.after.node,
            "op": self.after.op,
            "module": self.after.module,
            "source": self.after.source,
            "before": str(self.before.verdict),
            "after": str(self.after.verdict),
            "reasons": [reason.to_json() for reason in self.after.reasons],
        }

    def __str__(self) -> str:
        """Such as "%sort aten.sort at model.py:41: trt → unsupported (TP101: no converter …)"."""
        place = self.after.source or self.after.module
        name = f"%{self.after.node}"
        if self.before.node != self.after.node:
            name = f"%{self.before.node}, now {name}"
        why = "; ".join(f"{reason.code}: {reason.message}" for reason in self.after.reasons)
        where = f" at {place}" if place else ""
        verdicts = f"{self.before.verdict} → {self.after.verdict}"
        return f"{name} {self.after.op}{where}: {verdicts}{f' ({why})' if why else ''}"


@dataclass(frozen=True)
class RunDifference:
    """What differs between two runs.

    Attributes:
        before, after: the two `run.json`s.
        facts: name -> (before, after) for what differs: settings, versions, the pipeline.
        lost: nodes that were `trt` and are no more.
        gained: nodes that are `trt` and were not.
        changed: nodes with another verdict that is `trt` in neither run.
        removed, added: rows that only one of the runs has.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    facts: Mapping[str, tuple[Any, Any]]
    lost: tuple[Moved, ...]
    gained: tuple[Moved, ...]
    changed: tuple[Moved, ...]
    removed: tuple[LedgerRow, ...]
    added: tuple[LedgerRow, ...]

    @property
    def lost_text(self) -> str:
        """One sentence on the nodes that were lost; "" for none."""
        count = len(self.lost)
        if not count:
            return ""
        named = "; ".join(str(item) for item in self.lost[:_NAMED])
        more = f"; and {count - _NAMED} more" if count > _NAMED else ""
        which = "1 op node that was" if count == 1 else f"{count:,} op nodes that were"
        return f"{which} in TensorRT stay{'s' if count == 1 else ''} in PyTorch now: {named}{more}."

    @property
    def numbers(self) -> dict[str, tuple[float, float]]:
        """Engines, their bytes, what crosses their boundaries and every verdict's count: name -> (before, after)."""
        return {name: (function(self.before), function(self.after)) for name, function in _NUMBERS.items()}

    def to_json(self) -> dict[str, Any]:
        """JSON-able values."""
        return {
            "facts": {name: list(pair) for name, pair in self.facts.items()},
            "numbers": {name: list(pair) for name, pair in self.numbers.items()},
            "segments": [_segments(run) for run in (self.before, self.after)],
            "lost": [item.to_json() for item in self.lost],
            "gained": [item.to_json() for item in self.gained],
            "changed": [item.to_json() for item in self.changed],
            "removed": [row.to_json() for row in self.removed],
            "added": [row.to_json() for row in self.added],
        }

    def __str__(self) -> str:
        """A page that names everything that differs."""
        lines = [*self._facts(), *self._numbers()]
        for title, items in (("lost", self.lost), ("gained", self.gained), ("other verdicts", self.changed)):
            lines += _section(title, map(str, items), len(items))
        for title, rows in (("only in the first", self.removed), ("only in the second", self.added)):
            texts = (f"%{row.node} {row.op} ({row.verdict})" for row in rows)
            lines += _section(title, texts, len(rows))
        return "\n".join(lines) or "the two runs have the same settings, verdicts and segments."

    def _facts(self) -> Iterator[str]:
        yield from (f"{name}: {was} → {now}" for name, (was, now) in self.facts.items())

    def _numbers(self) -> Iterator[str]:
        yield from (f"{name}: {was:,} → {now:,}" for name, (was, now) in self.numbers.items() if was != now)
        sizes = [{item["name"]: item["ops"] for item in _segments(run)} for run in (self.before, self.after)]
        for name in dict.fromkeys((*sizes[0], *sizes[1])):
            was, now = (_op_nodes(size[name]) if name in size else "none" for size in sizes)
            if was != now:
                yield f"  {name}: {was} → {now}"


def compare_runs(before: DumpFolder, after: DumpFolder) -> RunDifference:
    """What differs between two dumped runs.

    Two nodes are the same only if operator and module are, whatever they are called: names shift when a model is
    edited. Among those, nodes of the same source line are paired, then those of the same name, then what is left, each
    time in graph order; where there are as many nodes on other lines, the lines moved, and only the order counts.

    Raises:
        UserError: a run stopped before it had a ledger.
    """
    pairs, removed, added = _matched(before.ledger, after.ledger)
    moved = [Moved(old, new) for old, new in pairs if old.verdict is not new.verdict]
    return RunDifference(
        before=before.run,
        after=after.run,
        facts=dict(_facts(before.run, after.run)),
        lost=tuple(item for item in moved if item.before.verdict is Verdict.TRT),
        gained=tuple(item for item in moved if item.after.verdict is Verdict.TRT),
        changed=tuple(item for item in moved if Verdict.TRT not in (item.before.verdict, item.after.verdict)),
        removed=tuple(removed),
        added=tuple(added),
    )


def _matched(
    before: Iterable[LedgerRow], after: Iterable[LedgerRow]
) -> tuple[list[tuple[LedgerRow, LedgerRow]], list[LedgerRow], list[LedgerRow]]:
    """Pairs of rows of the same node, and the rows without a partner on each side, all in graph order."""
    old, new = list(before), list(after)
    there = _by(_kind_and_module, new)
    pairs = [pair for key, rows in _by(_kind_and_module, old).items() for pair in _paired(rows, there.get(key, []))]
    position = {row.node: index for index, row in enumerate(old)}
    pairs.sort(key=lambda pair: position[pair[0].node])
    gone, known = {was.node for was, _ in pairs}, {now.node for _, now in pairs}
    return pairs, [row for row in old if row.node not in gone], [row for row in new if row.node not in known]


def _paired(old: list[LedgerRow], new: list[LedgerRow]) -> Iterator[tuple[LedgerRow, LedgerRow]]:
    """Pairs of rows of one operator in one module.

    A line number can only be trusted while the lines did not move: as many nodes on other lines are the same nodes.
    """
    keys: tuple[_Key, ...] = (_source, _name, _kind_and_module)
    if len(old) == len(new) and Counter(map(_source, old)) != Counter(map(_source, new)):
        keys = (_kind_and_module,)
    for key in keys:
        waiting, left = {name: deque(rows) for name, rows in _by(key, old).items()}, []
        for row in new:
            partners = waiting.get(key(row))
            if partners:
                yield partners.popleft(), row
            else:
                left.append(row)
        new = left
        unpaired = {row.node for rows in waiting.values() for row in rows}
        old = [row for row in old if row.node in unpaired]


def _by(key: _Key, rows: Iterable[LedgerRow]) -> dict[Hashable, list[LedgerRow]]:
    groups: dict[Hashable, list[LedgerRow]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _kind_and_module(row: LedgerRow) -> Hashable:
    return row.op, row.module


def _source(row: LedgerRow) -> Hashable:
    return row.source


def _name(row: LedgerRow) -> Hashable:
    return row.node


def _facts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for group in ("settings", "versions"):
        first, second = before.get(group, {}), after.get(group, {})
        for name in dict.fromkeys((*first, *second)):
            pair = first.get(name), second.get(name)
            if pair[0] != pair[1]:
                yield f"{group}.{name}", pair
    for name in ("pipeline", "failure"):
        pair = before.get(name), after.get(name)
        if pair[0] != pair[1]:
            yield name, pair


def _segments(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    kept = ("name", "ops", "inputs", "outputs", "engine_bytes")
    return [{key: item.get(key) for key in kept} for item in run.get("segments", ())]


def _section(title: str, texts: Iterable[str], count: int) -> list[str]:
    if not count:
        return []
    lines = [f"  {text}" for _, text in zip(range(_LISTED), texts, strict=False)]
    return [
        "",
        f"{title}: {_op_nodes(count)}",
        *lines,
        *([f"  and {count - _LISTED:,} more (--json has all)"] if count > _LISTED else []),
    ]


def _op_nodes(count: int) -> str:
    return f"{count:,} op node{'' if count == 1 else 's'}"


_NUMBERS: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    "op nodes": lambda run: sum(run.get("verdicts", {}).values()),
    **{
        str(verdict): (lambda run, verdict=str(verdict): run.get("verdicts", {}).get(verdict, 0))  # type: ignore[misc]
        for verdict in Verdict
    },
    "engines": lambda run: len(run.get("segments", ())),
    "engine bytes": lambda run: sum(item.get("engine_bytes") or 0 for item in run.get("segments", ())),
    "tensors across engine boundaries": lambda run: run.get("boundary", {}).get("crossings", 0),
    "bytes across engine boundaries": lambda run: run.get("boundary", {}).get("bytes", 0),
}
