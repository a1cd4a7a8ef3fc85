"""Tells when something of a file has run: a function that payloads call, and what Python itself reports."""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

CALL = "__import__('builtins').fuzz_canary()"
"""Python text that is noticed when it runs."""

MODULE = "this"
"""A module that nobody imports for other reasons."""

_PROGRAMS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "pty.")
_OTHERS = ("pickle.find_class", "ctypes.dlopen", "socket.", "urllib.", "os.remove", "os.rename", "os.mkdir", "shutil.")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass
class Canary:
    """What has run while it was watching, in words."""

    seen: list[str] = field(default_factory=list)
    watching: bool = False

    def __post_init__(self) -> None:
        # Neither can be taken back: one canary for a process.
        sys.addaudithook(self._hear)
        setattr(builtins, "fuzz_canary", self._called)  # noqa: B010

    @contextmanager
    def watch(self) -> Iterator[list[str]]:
        """Watch while the block runs; yields what is seen."""
        self.seen, self.watching = [], True
        try:
            yield self.seen
        finally:
            self.watching = False

    def _called(self) -> None:
        self.seen.append("a payload ran")

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        if event == "open":
            path, mode, flags = arguments
            if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & _WRITES):
                self.seen.append(f"{path} was opened for writing")
        elif event == "import" and arguments[0] == MODULE:
            self.seen.append(f"{MODULE} was imported")
        elif event.startswith(_PROGRAMS + _OTHERS):
            self.seen.append(f"{event}{arguments}")
