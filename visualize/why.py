"""Why nodes stay in PyTorch, grouped by the line of the user's code that they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ..compiler.analysis import fallback_gains
from ..compiler.ledger import Ledger, LedgerRow, Verdict
from ..compiler.program import Program
from ..compiler.reasons import REASON_CODES
from ..compiler.settings import Settings
from ..compiler.source import source_frame, source_of
from .text import counts_text

_NAMED = 6


@dataclass(frozen=True)
class Blocker:
    """One line of the user's code with the op nodes of it that stay in PyTorch.

    `source` is "file:line" ("" where it is not known), `line` the text of that line as far as it is known.
    """

    source: str
    line: str
    rows: tuple[LedgerRow, ...]

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that the line was called in, in graph order."""
        return tuple(dict.fromkeys(row.module for row in self.rows))


def blockers(program: Program) -> tuple[Blocker, ...]:
    """Everything that stays in PyTorch by source line, the line with most nodes first.

    Nodes that only follow others (`demoted` ones) come after those that were turned away on their own account.
    """
    lines = {}
    for node in program.op_nodes:
        frame, source = source_frame(node), source_of(node)
        if frame is not None and source is not None:
            lines[source] = frame[2]
    groups: dict[str, list[LedgerRow]] = {}
    for row in program.ledger:
        if row.verdict is not Verdict.TRT:
            groups.setdefault(row.source or "", []).append(row)
    found = [Blocker(source, lines.get(source, ""), tuple(rows)) for source, rows in groups.items()]
    return tuple(sorted(found, key=_rank))


def _rank(blocker: Blocker) -> tuple[bool, int, str]:
    follows = all(row.verdict is Verdict.DEMOTED for row in blocker.rows)
    return follows, -len(blocker.rows), blocker.source


def why_text(program: Program, settings: Settings | None = None) -> str:
    """The page `why.txt`: every source line with fallbacks, the reasons with their actual values, and what to do.

    After `partition` it also says what fixing each line would gain; `settings` are those of the run.
    """
    ledger = program.ledger
    if not len(ledger):
        return "The run stopped before annotate: no op node has a verdict.\n"
    found = blockers(program)
    head = [_headline(ledger), ""]
    if not found:
        return "\n".join([*head, "Everything went to TensorRT."]) + "\n"
    parts = [line for blocker in found for line in (*_blocker_lines(blocker), "")]
    return "\n".join([*head, *parts, *_gains(program, settings), *_codes(found)]) + "\n"


def _gains(program: Program, settings: Settings | None) -> Iterable[str]:
    if program.partitioned_by is None:
        return
    text = str(fallback_gains(program, settings))
    if text:
        yield "What fixing each would gain, best first"
        yield from (f"    {line}" for line in text.splitlines())
        yield ""


def _headline(ledger: Ledger) -> str:
    counts = ledger.counts
    return f"{counts['trt']} of {len(ledger)} op nodes ({ledger.coverage:.1%}) are in TensorRT: {counts_text(counts)}"


def _blocker_lines(blocker: Blocker) -> Iterable[str]:
    count = len(blocker.rows)
    yield f"{blocker.source or 'source not known'}: {count} op node{'s' if count > 1 else ''}"
    if blocker.line:
        yield f"    > {blocker.line}"
    modules = [module for module in blocker.modules if module]
    if modules:
        yield f"    in {_some(modules)}"
    grouped: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for row in blocker.rows:
        key = (row.op, str(row.verdict), tuple(f"{reason.code}: {reason.message}" for reason in row.reasons))
        grouped.setdefault(key, []).append(f"%{row.node}")
    for (operator, verdict, reasons), nodes in grouped.items():
        yield f"    {verdict} {operator}{f' ×{len(nodes)}' if len(nodes) > 1 else ''}: {_some(nodes)}"
        yield from (f"        {reason}" for reason in reasons)


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return f"{', '.join(items[:_NAMED])}{more}"


def _codes(found: Iterable[Blocker]) -> Iterable[str]:
    counts = Counter(reason.code for blocker in found for row in blocker.rows for reason in row.reasons)
    if counts:
        yield "What the codes mean and what to do"
    for code, count in sorted(counts.items()):
        known = REASON_CODES.get(code)
        if known is not None:
            yield f"    {code} ({count} op nodes) {known.title}: {known.remedy}"
