"""Making and ending TensorRT builders without a deadlock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..ir.collector import collector_paused

# TensorRT has such a lock too, one for the process, so a lock per compilation would not do.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def builder_guard() -> Iterator[None]:
    """Make or end a `trt.Builder` in here.

    TensorRT holds a lock of its own meanwhile and calls the Python logger. If another builder ended in that moment, in
    another thread or because the logger's allocations start the garbage collector, it would wait for that lock forever,
    with Python's global lock in hand.
    """
    with _ONE_AT_A_TIME, collector_paused():
        yield
