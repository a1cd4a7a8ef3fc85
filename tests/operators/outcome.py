"""What became of a sample."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The possible ends of a sample."""

    RIGHT = "right"
    REFUSED = "refused"
    WRONG = "wrong"
    NOT_EXPORTED = "not exported"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Outcome:
    """The end of a sample.

    Attributes:
        kind: how it ended.
        detail: why, in one sentence; empty when it is right.
        codes: the reason codes of a refusal.
        targets: the operators of the program; of a refusal, those that were refused.
        axes: how a dynamic sample varied: "all" axes that can, or "one" of them; empty for a static sample.
    """

    kind: Kind
    detail: str = ""
    codes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    axes: str = ""
