"""TensorRT's log, collected: its error lines are the only place where it says why it refused something."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable
from types import ModuleType
from typing import Any

# TensorRT says these on every machine without a GPU, about calls that succeeded as well.
_NOISE = ("catchCudaError", "cudaError 35", "CUDA driver version is insufficient", "Thread context has not been set")


@functools.cache
def _logger_class(trt: ModuleType) -> type:
    class CollectingLogger(trt.ILogger):  # type: ignore[misc, name-defined]
        """An `ILogger` that keeps every message, as (severity name, text), in `records`."""

        def __init__(self, limit: int | None) -> None:
            trt.ILogger.__init__(self)
            self.records: Any = [] if limit is None else deque(maxlen=limit)

        def log(self, severity: Any, message: str) -> None:
            self.records.append((severity.name, message))

    return CollectingLogger


def collecting_logger(trt: ModuleType, limit: int | None = None) -> Any:
    """A new `trt.ILogger` whose `records` is the list of (severity name, text) of all messages so far.

    With a limit it is a `collections.deque` of the last so many.
    """
    return _logger_class(trt)(limit)


def is_noise(message: str) -> bool:
    """Whether a message says only that this machine has no GPU."""
    return any(text in message for text in _NOISE)


def error_lines(records: Iterable[tuple[str, str]]) -> list[str]:
    """The errors among log records, without those that only say that this machine has no GPU."""
    wanted = [text for severity, text in records if severity in ("ERROR", "INTERNAL_ERROR") and not is_noise(text)]
    return list(dict.fromkeys(wanted))
