"""Why nodes stay in PyTorch: by the line of the user's code, what each line costs, and what fixing it would gain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ..compiler.analysis.boundary import BoundaryBill, boundary_bill
from ..compiler.analysis.cost import boundary_cost
from ..compiler.analysis.fallbacks import FallbackGroup, demoted_groups, fallback_groups
from ..compiler.analysis.gains import Gain, Gains, fallback_gains
from ..compiler.analysis.tensor_bytes import TensorBytes
from ..compiler.ir.ledger import LedgerRow, Reason
from ..compiler.ir.program import Program
from ..compiler.ir.reasons import REASON_CODES
from ..compiler.settings import Settings
from .text import counts_text

_NAMED = 6


def why_text(
    program: Program,
    settings: Settings | None = None,
    gains: Gains | None = None,
    boundary: BoundaryBill | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The page `why.txt`: every source line with fallbacks, most worth fixing first.

    Each has the line itself, the modules that run it, the reasons with their actual values, what it costs on every call
    and what fixing it would gain. Then come lines that help only together, nodes that TensorRT could take but whose
    engines would be too small, and what the codes mean. Costs and gains are known after `partition`.

    Args:
        program: with verdicts, partitioned or not.
        settings: those of the run.
        gains, boundary: of `fallback_gains` and `boundary_bill`, if they are known already.
        notes: what else went otherwise than it should have, a sentence each; they come last.
    """
    ledger = program.ledger
    lines = ["The run stopped before annotate: no op node has a verdict."]
    if len(ledger):
        lines = list(_Page(program, settings, gains, boundary).lines())
    return "\n".join([*lines, *(line for note in notes for line in ("", note))]) + "\n"


class _Page:
    def __init__(
        self, program: Program, settings: Settings | None, gains: Gains | None, boundary: BoundaryBill | None
    ) -> None:
        self.boundary = boundary or boundary_bill(program)
        self.program, self.partitioned = program, program.partitioned_by is not None
        self.rows = {row.node: row for row in program.ledger}
        self.sizes = TensorBytes(program)
        self.gains = gains if gains is not None or not self.partitioned else fallback_gains(program, settings)
        self.groups: tuple[tuple[FallbackGroup, Gain | None], ...]
        if self.gains is None:
            groups = sorted(fallback_groups(program), key=lambda group: -len(group.nodes))
            self.groups = tuple((group, None) for group in groups)
        else:
            self.groups = tuple((item.group, item.gain) for item in self.gains.fallbacks)
        self.demoted = demoted_groups(program)

    def lines(self) -> Iterator[str]:
        yield from self._headlines()
        yield ""
        if not self.groups and not self.demoted:
            yield "Everything went to TensorRT."
            return
        for number, (group, gain) in enumerate(self.groups, 1):
            yield from self._group(f"{number}. ", group)
            if self.partitioned:
                yield f"    costs: {boundary_cost(self.program, group.nodes, self.sizes)}"
                yield f"    gain:  {'not worked out, there are too many' if gain is None else gain}"
            yield ""
        yield from self._several_at_once()
        yield from self._demoted()
        yield from _codes([row for group in self._all() for row in self._own_rows(group)])

    def _headlines(self) -> Iterator[str]:
        ledger = self.program.ledger
        counts, share = ledger.counts, f"{ledger.coverage:.1%}"
        yield f"{counts['trt']} of {len(ledger)} op nodes ({share}) are in TensorRT: {counts_text(counts)}"
        if self.program.segments:
            engines = f"{len(self.program.segments)} engine{'' if len(self.program.segments) == 1 else 's'}"
            yield f"{engines}; {self.boundary.total}"
        cuts = [self.rows[name] for name in getattr(self.program.partitioned_by, "cut_before", ()) if name in self.rows]
        if cuts:
            places = _some([f"%{row.node} ({row.source})" if row.source else f"%{row.node}" for row in cuts])
            yield f"engines are cut before {places}: partition was told to, or building took longer than build_seconds"

    def _all(self) -> Iterator[FallbackGroup]:
        yield from (group for group, _ in self.groups)
        yield from self.demoted

    def _several_at_once(self) -> Iterator[str]:
        combined = self.gains.combined if self.gains is not None else ()
        if combined:
            yield "Several at once"
            yield from (f"    {gain}" for gain in combined)
            yield ""

    def _demoted(self) -> Iterator[str]:
        if not self.demoted:
            return
        yield "TensorRT could take these, but they are left out"
        yield ""
        for group in self.demoted:
            yield from self._group("- ", group)
            yield ""
        smaller = self.gains.smaller_blocks if self.gains is not None else ()
        yield from (f"    {gain}" for gain in smaller)
        if smaller:
            yield ""

    def _group(self, mark: str, group: FallbackGroup) -> Iterator[str]:
        count = len(group.nodes)
        modules = [module for module in group.modules if module]
        where = f" in {_some(modules)}" if modules else ""
        yield f"{mark}{group.source or 'source not known'}{where}: {count} op node{'s' if count > 1 else ''}"
        if group.line:
            yield f"    > {group.line}"
        alike: dict[tuple[str, tuple[Reason, ...]], list[LedgerRow]] = {}
        for row in self._own_rows(group):
            alike.setdefault((str(row.verdict), row.reasons), []).append(row)
        for (verdict, reasons), rows in alike.items():
            operators = Counter(row.op for row in rows)
            names = [f"{name} ×{times}" if times > 1 else name for name, times in operators.items()]
            yield f"    {verdict} {_some(names)}: {_some([f'%{row.node}' for row in rows])}"
            yield from (f"        {reason.code}: {reason.message}" for reason in reasons)

    def _own_rows(self, group: FallbackGroup) -> list[LedgerRow]:
        """The rows of a group without those `getitem`s that only follow the node whose result they pick."""
        rows = [self.rows[name] for name in group.nodes]
        own = [row for row in rows if row.op != "getitem" or row.because not in group.nodes]
        return own or rows


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return f"{', '.join(items[:_NAMED])}{more}"


def _codes(rows: Iterable[LedgerRow]) -> Iterator[str]:
    counts = Counter(code for row in rows for code in dict.fromkeys(reason.code for reason in row.reasons))
    if counts:
        yield "What the codes mean and what to do"
    for code, count in sorted(counts.items()):
        known = REASON_CODES.get(code)
        if known is not None:
            yield f"    {code} ({count} op node{'' if count == 1 else 's'}) {known.title}: {known.remedy}"
