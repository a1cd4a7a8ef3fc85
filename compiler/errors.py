"""Errors that a user can do something about: one clear sentence, no traceback needed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user asked for; the message says what was asked, what is the case and what to do."""


class Cancelled(Exception):
    """The user asked to stop; a long step noticed it between two of its parts."""


class PassFailure(Exception):
    """A pass raised, or broke a promise.

    `pass_name` names the pass, `node` the node it was working on (if known), `source` the user's line ("file:line").
    `reproduce` is the command that reproduces it, set when a dump folder was written.
    """

    def __init__(
        self, pass_name: str, message: str, node: str | None = None, source: str | None = None, reproduce: str = ""
    ) -> None:
        self.pass_name, self.message, self.node, self.source, self.reproduce = (
            pass_name,
            message,
            node,
            source,
            reproduce,
        )
        super().__init__(pass_name, message, node, source, reproduce)

    def __str__(self) -> str:
        place = f" at node {self.node}" if self.node else ""
        place += f" ({self.source})" if self.source else ""
        again = f"\nreproduce with: {self.reproduce}" if self.reproduce else ""
        return f"pass {self.pass_name!r} failed{place}: {self.message}{again}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A closing clause with the closest known names: " Did you mean 'partition'?"; "" when nothing is close."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    if not close:
        return f" Known: {', '.join(sorted(known))}." if len(known) <= 40 else ""
    return f" Did you mean {' or '.join(repr(match) for match in close)}?"
