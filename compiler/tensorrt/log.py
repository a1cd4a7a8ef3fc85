"""TensorRT's log, collected: its error lines are the only place where it says why it refused something."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

# TensorRT says these on every machine without a GPU, about calls that succeeded as well.
_NOISE = ("catchCudaError", "cudaError 35", "CUDA driver version is insufficient", "Thread context has not been set")


@functools.cache
def _logger_class(trt: ModuleType) -> type:
    class CollectingLogger(trt.ILogger):  # type: ignore[misc, name-defined]
        """An `ILogger` that keeps every message, as (severity name, text), in `records`."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.records: list[tuple[str, str]] = []

        def log(self, severity: Any, message: str) -> None:
            self.records.append((severity.name, message))

    return CollectingLogger


def collecting_logger(trt: ModuleType) -> Any:
    """A new `trt.ILogger` whose `records` is the list of (severity name, text) of all messages so far."""
    return _logger_class(trt)()


def is_noise(message: str) -> bool:
    """Whether a message says only that this machine has no GPU."""
    return any(text in message for text in _NOISE)


def error_lines(records: list[tuple[str, str]]) -> list[str]:
    """The errors among log records, without those that only say that this machine has no GPU."""
    wanted = [text for severity, text in records if severity in ("ERROR", "INTERNAL_ERROR") and not is_noise(text)]
    return list(dict.fromkeys(wanted))
