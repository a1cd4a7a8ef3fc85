"""Files that are there whole or not at all, also when several processes write them at once."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

PREFIX = ".writing-"
"""How the names of files begin that are not whole yet, or were left by a process that ended."""


def write_whole(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> None:
    """Write the parts, one after the other, to a file beside `path` and rename it to `path`.

    Raises:
        OSError: the file cannot be written; what was at `path` is then still there.
    """
    target = Path(path)
    unfinished = target.parent / f"{PREFIX}{secrets.token_hex(8)}"
    try:
        with unfinished.open("xb") as file:
            for part in parts:
                file.write(part)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
