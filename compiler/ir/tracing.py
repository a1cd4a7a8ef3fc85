"""PyTorch traces one model at a time in a process."""

from __future__ import annotations

from contextlib import AbstractContextManager


def tracing() -> AbstractContextManager[bool]:
    """A context in which no other thread traces, which dynamo takes too; a thread may enter it again."""
    from torch._dynamo.convert_frame import compile_lock

    return compile_lock
