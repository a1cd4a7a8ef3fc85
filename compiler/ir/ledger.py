"""The ledger: exactly one verdict per op node, with every reason for it.

The facts themselves live on the nodes (see `annotations`); the ledger is a view of them, so it cannot disagree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    import pandas


class Verdict(StrEnum):
    """Where an op node goes, and if not to TensorRT, at which point it was turned away."""

    TRT = "trt"
    UNSUPPORTED = "unsupported"
    REJECTED = "rejected"
    DEMOTED = "demoted"
    EXCLUDED = "excluded"
    FAILED = "failed"


@dataclass(frozen=True)
class Reason:
    """Why a node did not go to TensorRT: a stable code and one sentence with the actual values."""

    code: str
    message: str

    def to_json(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True)
class LedgerRow:
    """One op node: its verdict, all reasons, the node that caused it, its segment, and where the user wrote it.

    `source` is "file:line" of the user's code, without absolute paths; `module` is the dotted path of the module;
    `variant` names the way in which TensorRT computes it, where there are several.
    """

    node: str
    op: str
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    because: str | None = None
    segment: str | None = None
    module: str = ""
    source: str | None = None
    variant: str | None = None

    def __str__(self) -> str:
        reason = f" {self.reasons[0].code}: {self.reasons[0].message}" if self.reasons else ""
        place = f"  # {self.source}" if self.source else ""
        return f"%{self.node} = {self.op}: {self.segment or self.verdict}{reason}{place}"

    def to_json(self) -> dict[str, Any]:
        """The row as the JSON object that `ledger.jsonl` holds."""
        return {
            "node": self.node,
            "op": self.op,
            "verdict": str(self.verdict),
            "reasons": [reason.to_json() for reason in self.reasons],
            "because": self.because,
            "segment": self.segment,
            "module": self.module,
            "source": self.source,
            **({} if self.variant is None else {"variant": self.variant}),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> LedgerRow:
        """The row that `to_json` wrote."""
        for name, value in row.items():
            if name != "reasons" and not isinstance(value, str | None):
                raise ValueError(f"{name} of a row is {value!r}")
        reasons = tuple(Reason(**reason) for reason in row["reasons"])
        return cls(**{**row, "verdict": Verdict(row["verdict"]), "reasons": reasons})


@dataclass(frozen=True)
class Ledger:
    """All rows, in graph order."""

    rows: tuple[LedgerRow, ...]

    def __iter__(self) -> Iterator[LedgerRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        found = (f", {count} {verdict}" for verdict, count in self.counts.items() if count)
        return f"Ledger({len(self)} op nodes{''.join(found)})"

    def __str__(self) -> str:
        """A line per op node: its name, operator, verdict or segment, first reason and place."""
        return "\n".join(f"{row}" for row in self.rows)

    def __getitem__(self, node: str) -> LedgerRow:
        for row in self.rows:
            if row.node == node:
                return row
        raise KeyError(f"the ledger has no node named {node!r}")

    @property
    def counts(self) -> dict[str, int]:
        """Op nodes per verdict; every verdict is a key, and the values add up to `len(self)`."""
        counts = {str(verdict): 0 for verdict in Verdict}
        for row in self.rows:
            counts[str(row.verdict)] += 1
        return counts

    @property
    def coverage(self) -> float:
        """Share of op nodes that went to TensorRT, 0 to 1 (1 for a graph without op nodes).

        What is computed once, when a model is loaded, does not count: no call waits for it.
        """
        once = sum(any(reason.code == "TP307" for reason in row.reasons) for row in self.rows)
        return self.counts["trt"] / (len(self.rows) - once) if len(self.rows) > once else 1.0

    def to_jsonl(self) -> str:
        """One JSON object per line, keys in the documented order."""
        return "".join(json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in self.rows)

    def to_pandas(self) -> pandas.DataFrame:
        """One row per op node: the columns of a `LedgerRow`, with `codes` and `messages` (tuples) for its reasons.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise UserError("a DataFrame of the ledger needs pandas: run pip install pandas.") from None
        columns = ("node", "op", "verdict", "codes", "messages", "because", "segment", "module", "source")
        rows = (
            {
                **row.to_json(),
                "codes": tuple(reason.code for reason in row.reasons),
                "messages": tuple(reason.message for reason in row.reasons),
            }
            for row in self.rows
        )
        return pandas.DataFrame(([row[name] for name in columns] for row in rows), columns=list(columns))

    @classmethod
    def from_jsonl(cls, lines: Iterable[str]) -> Ledger:
        """The ledger that `to_jsonl` wrote."""
        return cls(tuple(LedgerRow.from_json(json.loads(line)) for line in lines if line.strip()))
