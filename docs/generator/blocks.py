"""Blocks of generated text in pages that are written by hand.

A block begins with `<!-- begin NAME -->` and ends with `<!-- end -->`; what stands between is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_BLOCK = re.compile(r"<!-- begin (?P<name>[\w-]+) -->\n.*?<!-- end -->", re.DOTALL)


def names_in(text: str) -> list[str]:
    """The names of the blocks of a page."""
    return [match["name"] for match in _BLOCK.finditer(text)]


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """The page with its blocks replaced; blocks that `blocks` does not have stay as they are."""

    def replacement(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- begin {name} -->\n{blocks[name]}\n<!-- end -->" if name in blocks else match[0]

    return _BLOCK.sub(replacement, text)
