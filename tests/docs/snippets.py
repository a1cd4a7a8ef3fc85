"""Reads the code and the commands of a page.

What a page assumes is written in a comment that readers do not see, which runs before what follows:

    <!-- prepare
    model = torch.nn.Linear(4, 4)
    -->

`<!-- needs a GPU -->` before a block, or another reason in these words, says why it is not run. Commands behind a `$`
stand above what they once printed: they are read, and not run either.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_GENERATED = re.compile(r"<!-- begin [\w-]+ -->\n.*?<!-- end -->", re.DOTALL)
_PIECE = re.compile(
    r"^<!-- prepare\n(?P<prepared>.*?)^-->"
    r"|^(?:<!-- (?P<needs>needs [^\n]*?) -->\n+)?```(?P<language>\w*)\n(?P<code>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
_SHELL = ("", "sh", "text", "console")


@dataclass(frozen=True)
class Snippet:
    """Python code, or one command, of a page, and what it needs that is not there for tests ("" for nothing)."""

    line: int
    code: str
    command: tuple[str, ...] = ()
    needs: str = ""


def snippets(page: Path) -> Iterator[Snippet]:
    """The code and the commands of a page, in their order; what is generated from runs is left out."""
    text = _GENERATED.sub(lambda match: "\n" * match[0].count("\n"), page.read_text(encoding="utf-8"))
    for match in _PIECE.finditer(text):
        line = text[: match.start()].count("\n") + 1
        needs = match["needs"] or ""
        if match["prepared"] is not None:
            yield Snippet(line, match["prepared"])
        elif match["language"] == "python":
            yield Snippet(line, match["code"], needs=needs)
        elif match["language"] in _SHELL:
            for text in map(str.strip, match["code"].splitlines()):
                words = _words(text.removeprefix("$ "))
                if words:
                    yield Snippet(line, "", words, needs or "needs what it was recorded with" * text.startswith("$ "))


def _words(line: str) -> tuple[str, ...]:
    """The words of a line that is a command of ours, of make or of Python."""
    if not line.startswith(("trt-passes ", "make ", "python ", "pip ")):
        return ()
    return tuple(shlex.split(line, comments=True))
