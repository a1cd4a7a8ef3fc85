"""Errors that a user can do something about: one clear sentence, no traceback needed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

ISSUES = "https://github.com/trt-passes/trt-passes/issues"
"""Where to report what is wrong with this package."""


_SHOWN = 300


class UserError(Exception):
    """A mistake in what the user asked for; the message says what was asked, what is the case and what to do."""


class NotWhole(UserError):
    """A model that cannot be one graph, by its own fault and not that of its inputs."""


class BindingNameMismatch(UserError, ValueError):
    """Names for the bindings of an engine that do not fit the model's arguments or results."""


class Cancelled(Exception):
    """The user asked to stop; a long step noticed it between two of its parts."""


class PassFailure(Exception):
    """A pass raised, or broke a promise.

    `pass_name` names the pass, `node` the node it was working on (if known), `source` the user's line ("file:line").
    `reproduce` is the command that reproduces it, set when a dump folder was written. `ours` is true where the fault
    is this package's, so that a user can do no better than to report it.
    """

    def __init__(
        self,
        pass_name: str,
        message: str,
        node: str | None = None,
        source: str | None = None,
        reproduce: str = "",
        ours: bool = False,
    ) -> None:
        self.pass_name, self.message, self.node, self.source = pass_name, message, node, source
        self.reproduce, self.ours = reproduce, ours
        super().__init__(pass_name, message, node, source, reproduce, ours)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.pass_name, self.message, self.node, self.source, self.reproduce, self.ours)

    def __str__(self) -> str:
        lines = [f"pass {self.pass_name!r} failed{self.place}: {self.message}"]
        if self.ours:
            script = "the script below" if self.reproduce else "the script that a dump folder gets (dump_dir=…)"
            lines.append(f"the fault is not yours: please report it at {ISSUES}, with {script}")
        if self.reproduce:
            lines.append(f"reproduce with: {self.reproduce}")
        return "\n".join(lines)

    @property
    def place(self) -> str:
        """Where it failed, as " at node N (file:line)"; as much as is known."""
        place = f" at node {self.node}" if self.node else ""
        return place + (f" ({self.source})" if self.source else "")


def first_line(error: BaseException) -> str:
    """The first line of what an error says: PyTorch's errors go on with traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].split(". This is an internal miniz error")[0].rstrip(".") if lines else type(error).__name__


def on_one_line(error: BaseException) -> str:
    """What an error says, without breaks of lines, shortened: it may quote a file."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A closing clause with the closest known names: " Did you mean 'partition'?"; "" when nothing is close."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=2, cutoff=0.5)
    if not close:
        return f" Known: {', '.join(sorted(known))}." if len(known) <= 40 else ""
    return f" Did you mean {' or '.join(repr(match) for match in close)}?"
