"""Python's garbage collector, at rest for a while."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class _Pauses:
    """How many pauses there are in all threads, and whether the collector ran before the first."""

    count: int = 0
    was_enabled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


_PAUSES = _Pauses()


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection starts in here, in any thread; after the last pause it is as it was before the first."""
    with _PAUSES.lock:
        if not _PAUSES.count:
            _PAUSES.was_enabled = gc.isenabled()
            gc.disable()
        _PAUSES.count += 1
    try:
        yield
    finally:
        with _PAUSES.lock:
            _PAUSES.count -= 1
            if not _PAUSES.count and _PAUSES.was_enabled:
                gc.enable()
