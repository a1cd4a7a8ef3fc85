"""Child processes that judge programs, so that a crash of TensorRT's builder ends one program and not the run."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import multiprocessing
import os
import re
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

import torch

from .instead import Instead
from .judge import FAILURES, Kind, Verdict, judged
from .program import Program
from .write import random_program

_TASKS_PER_PROCESS = 200
"""Programs after which a process is replaced: TensorRT and torch.export keep some memory of every one."""

_STARTING = 120.0
"""Seconds that a process may take to import what it needs, beside those of its first program."""

Task = int | Program


@dataclass
class Pool:
    """How programs are judged: in how many processes, and after how many seconds one counts as hanging.

    Every process starts afresh and imports for itself: one that is forked from a process that has loaded TensorRT on a
    machine with a GPU dies of it. Processes live until `close`, also between calls of `judge`.

    Attributes:
        instead: replaces what every program made from a number says about how it is compiled.
    """

    processes: int
    patience: float = 180.0
    instead: Instead = Instead()
    _workers: list[_Worker] = field(default_factory=list)

    def judge(self, tasks: Iterable[Task], until: float = float("inf")) -> Iterator[tuple[Task, Verdict]]:
        """The verdicts in the order in which they end; what did not end at the time `until` (monotonic) has none."""
        waiting = iter(tasks)
        more = True
        while time.monotonic() < until:
            self._workers = [worker for worker in self._workers if not worker.retired()]
            while more and (idle := self._idle()) is not None:
                task = next(waiting, None)
                more = task is not None
                if task is not None:
                    idle.give(task)
            busy = [worker for worker in self._workers if worker.task is not None]
            if not busy:
                return
            ready = wait([worker.connection for worker in busy], timeout=1.0)
            for worker in busy:
                found = worker.verdict(worker.connection in ready, self.patience)
                if found is not None:
                    yield found

    def _idle(self) -> _Worker | None:
        """A process without a task, a new one if there may be more of them."""
        for worker in self._workers:
            if worker.task is None and not worker.gone:
                return worker
        if len(self._workers) >= self.processes:
            return None
        self._workers.append(_Worker.start(self.instead))
        return self._workers[-1]

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.end()
        self._workers = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def prepare() -> None:
    """Import what every program needs, before the first one's time is taken."""
    for name in ("compiler.tensorrt.executor", "passes.convert", "compiler.frontends.torch_compile", "compiler.api"):
        importlib.import_module(f"trt_passes.{name}")
    importlib.import_module("torch._inductor.decomposition")
    loader = importlib.import_module("trt_passes.compiler.tensorrt.loader")
    loader.load()
    torch.compile(torch.sin, backend="eager")(torch.ones(1))


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    connection: Connection
    printed: Path
    task: Task | None = None
    since: float = 0.0
    tasks: int = 0
    gone: bool = False

    @classmethod
    def start(cls, instead: Instead) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        descriptor, printed = tempfile.mkstemp(prefix="random_programs_", suffix=".txt")
        os.close(descriptor)
        process = context.Process(target=serve, args=(theirs, instead, printed), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours, Path(printed))

    def retired(self) -> bool:
        """Whether it is gone; one that had enough tasks is ended now."""
        if not self.gone and self.task is None and self.tasks >= _TASKS_PER_PROCESS:
            self.end()
        return self.gone

    def give(self, task: Task) -> None:
        self.task, self.since = task, time.monotonic()
        self.tasks += 1
        os.truncate(self.printed, 0)
        # One that has died meanwhile is found out by `verdict`.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(task)

    def verdict(self, ready: bool, patience: float) -> tuple[Task, Verdict] | None:
        """The verdict on its task if there is one, also because it died or takes too long; it is ended then."""
        task = self.task
        assert task is not None
        number = task if isinstance(task, int) else task.number
        if ready:
            with contextlib.suppress(EOFError, ConnectionResetError):
                found: Verdict = self.connection.recv()
                self.task = None
                if "CUDA error" in found.message:
                    self.end()  # after which nothing works on its GPU
                return task, found
            self.process.join()
            printed = _end_of(self.printed.read_text(errors="replace"))
            message = f"the process ended ({self.process.exitcode}){_where(printed)}"
            self.end()
            kind = Kind.PYTORCH if _is_pytorchs_own(printed) else Kind.CRASH
            return task, Verdict(number, kind, message, trace=printed)
        if time.monotonic() - self.since > patience + (_STARTING if self.tasks == 1 else 0):
            self.end()
            return task, Verdict(number, Kind.SLOW, f"more than {patience:.0f} s")
        return None

    def end(self) -> None:
        self.gone, self.task = True, None
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.printed.unlink(missing_ok=True)


def _end_of(printed: str, most: int = 6000) -> str:
    """The last of what a process printed: from the stack on where it died of a signal."""
    before, found, stack = printed.partition("Fatal Python error")
    return before[-most // 2 :] + found + stack[: most // 2] if found else printed[-most:]


def _is_pytorchs_own(printed: str) -> bool:
    """Whether a process died of a signal where PyTorch ran a program, or traced it, and this package nothing."""
    _, died, current = printed.rpartition("Current thread")
    return bool(died) and re.search(r"in (_execute|_traced|_results)\b", current) is not None


def _where(printed: str) -> str:
    """Where a process ended, by what it printed: the innermost Python line, or the last line."""
    _, _, current = printed.rpartition("Current thread")
    found = re.search(r'File "([^"]+)", line (\d+) in (\w+)', current or printed)
    if found:
        return f" in {found[3]} at {Path(found[1]).name}:{found[2]}"
    lines = printed.split("\n")
    return next((f": {line.strip()[:300]}" for line in reversed(lines) if line.strip()), "")


def serve(connection: Connection, instead: Instead, printed: str) -> None:
    """The life of a process: programs or their numbers in, verdicts out; what it prints goes to a file."""
    output = os.open(printed, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    prepare()
    parent = os.getppid()
    while os.getppid() == parent:
        if connection.poll(1.0):
            connection.send(_verdict(connection.recv(), instead))


def _verdict(task: Task, instead: Instead) -> Verdict:
    number = task if isinstance(task, int) else task.number
    try:
        program = instead.of(random_program(task)) if isinstance(task, int) else task
        verdict = judged(program)
        return replace(verdict, source=program.file(verdict.message)) if verdict.kind in FAILURES else verdict
    except Exception as error:
        trace = traceback.format_exc()
        return Verdict(number, Kind.CRASH, f"the judge failed: {type(error).__name__}: {error}", trace=trace)
