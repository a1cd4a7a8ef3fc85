"""Work that runs beside the compilation in a copy of the process, where the system can make one."""

from __future__ import annotations

import gc
import os
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress

PATIENCE = 120.0
"""Seconds after which the copy is given up and its work is done here."""


class SideProcess:
    """One piece of work, started at once.

    PyTorch's serializer needs half a second of pure Python per program, which no thread can take off the main one. A
    forked copy can: it shares the memory, works on a core of its own, and what it cannot do is done over here. The
    work must only read memory and write files, and must not use a GPU.
    """

    def __init__(self, work: Callable[[], object], in_copy: Callable[[], object] | None = None) -> None:
        """Start.

        Args:
            work: what to do.
            in_copy: called before it, in the copy only: what it changes there, nobody else sees.
        """
        self._work = work
        self._process = _fork(work, in_copy)
        self._ended: bool | None = None  # how it ended, once that was noticed

    @property
    def running(self) -> bool:
        """Whether the copy still works."""
        if self._process is None or self._ended is not None:
            return False
        self._ended = _ended(self._process)
        return self._ended is None

    def finish(self) -> None:
        """Wait until the work is done, doing it here if the copy could not."""
        done = self._ended if self._ended is not None else self._process is not None and _wait(self._process)
        self._process = self._ended = None
        if not done:
            self._work()

    def stop(self) -> None:
        """Give the work up."""
        if self._process is not None and self._ended is None:
            _kill(self._process)
        self._process = self._ended = None


def _fork(work: Callable[[], object], in_copy: Callable[[], object] | None) -> int | None:
    if not hasattr(os, "fork"):
        return None
    with warnings.catch_warnings():
        # Python warns that locks may be held by other threads; then the copy hangs, and is given up.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            process = os.fork()
        except OSError:
            return None
    if process == 0:
        _run_and_exit(work, in_copy)
    return process


def _run_and_exit(work: Callable[[], object], in_copy: Callable[[], object] | None) -> None:
    status = 1
    gc.disable()  # a collection would copy all of the memory that this process shares
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if in_copy is not None:
            in_copy()
        work()
        status = 0
    finally:
        os._exit(status)


def _ended(process: int) -> bool | None:
    """Whether the copy ended well; None while it works."""
    try:
        ended, status = os.waitpid(process, os.WNOHANG)
    except ChildProcessError:  # the program reaps its children itself, so how this one ended is not known
        return False
    return os.waitstatus_to_exitcode(status) == 0 if ended else None


def _wait(process: int) -> bool:
    """Whether the copy ended well, in time."""
    deadline, pause = time.monotonic() + PATIENCE, 0.001
    while time.monotonic() < deadline:
        ended = _ended(process)
        if ended is not None:
            return ended
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    _kill(process)
    return False


def _kill(process: int) -> None:
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
