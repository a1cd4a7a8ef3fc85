"""What would cost the same time in every test, and proves nothing after the first: done once, or cheaper."""

from __future__ import annotations

import os
import typing
from functools import wraps
from pathlib import Path

import pytest

MALLOC = {
    "hugetlb": 1,  # large pages
    "mmap_threshold": 1 << 30,  # large blocks are kept, too
    "trim_threshold": 2 << 30,
    "arena_max": 1,  # other arenas have room for 64 MiB only
}
"""TensorRT's builder clears 128 MiB for every engine: four fifths of the time of a small one go into the system's
handing out 32,768 pages. glibc reads these when a process starts."""

BUILT_IN_COPIES = "passes/build", "compiler/test_undo.py", "test_small_programs.py", "compiler/cli"
"""Tests whose engines are built in copies of the process, as everywhere outside of tests: those about that, and a few
of every kind. Memory of a copy is never clear already."""


def start_processes_quickly() -> None:
    """For workers of pytest-xdist, and whatever tests start: memory that is cheap, and bytecode that is kept."""
    tunables = ":".join(f"glibc.malloc.{name}={value}" for name, value in MALLOC.items())
    os.environ.setdefault("GLIBC_TUNABLES", tunables)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def build_in_this_process(monkeypatch: pytest.MonkeyPatch, test: Path) -> None:
    """Let a test build its engines in this process, unless it is one of `BUILT_IN_COPIES`."""
    path = test.relative_to(Path(__file__).parent).as_posix()
    if not path.startswith(BUILT_IN_COPIES):
        monkeypatch.setattr("trt_passes.passes.build.threads.can_copy", lambda: False)


def retrace_quickly() -> None:
    """Take away what `run_decompositions` does in vain every time, a third of its time for a small program."""
    import torch
    from torch._export import utils

    # Annotations of a function that is made 6,000 times; subscripts of typing's are remembered.
    torch._ops.Callable = typing.Callable  # type: ignore[attr-defined]
    whole = getattr(utils, "_materialize_cpp_cia_ops", None)
    if whole is None:
        return
    known: list[str] = []

    @wraps(whole)
    def materialised() -> None:
        """Nothing, unless operators were registered since: it is called for each library of operators."""
        now = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        if now != known:
            whole()
            known[:] = now

    utils._materialize_cpp_cia_ops = materialised
