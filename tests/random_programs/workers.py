"""Child processes that judge programs, so that a crash of TensorRT's builder ends one program and not the run."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from .judge import Kind, Verdict, judged
from .program import Program
from .write import random_program

_TASKS_PER_PROCESS = 120
"""Programs after which a process is replaced: TensorRT and torch.export keep some memory of every one."""

Task = int | Program
Change = Callable[[Program], Program]


@dataclass(frozen=True)
class Pool:
    """How programs are judged: in how many processes, and after how many seconds one counts as hanging.

    `change` replaces the case of every program made from a number. A GPU wants `fresh` processes, not forked ones.
    """

    processes: int
    patience: float = 180.0
    fresh: bool = False
    change: Change | None = None

    def judge(self, tasks: Iterable[Task], until: float = float("inf")) -> Iterator[tuple[Task, Verdict]]:
        """The verdicts in the order in which they end; what did not end at the time `until` (monotonic) has none."""
        if not self.fresh:
            prepare()
        waiting = iter(tasks)
        workers: list[_Worker] = []
        more = True
        try:
            while time.monotonic() < until:
                workers = [worker for worker in workers if not worker.retired()]
                while more and len(workers) < self.processes:
                    workers.append(_Worker.start(self))
                for worker in workers:
                    if more and worker.task is None:
                        task = next(waiting, None)
                        more = task is not None
                        if task is not None:
                            worker.give(task)
                busy = [worker for worker in workers if worker.task is not None]
                if not busy:
                    return
                ready = wait([worker.connection for worker in busy], timeout=1.0)
                for worker in busy:
                    found = worker.verdict(worker.connection in ready, self.patience)
                    if found is not None:
                        yield found
        finally:
            for worker in workers:
                worker.end()


def prepare() -> None:
    """Import what every program needs, so that forked processes have it."""
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
    task: Task | None = None
    since: float = 0.0
    tasks: int = 0
    gone: bool = False

    @classmethod
    def start(cls, pool: Pool) -> _Worker:
        context = multiprocessing.get_context("spawn" if pool.fresh else "fork")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, pool.change), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def retired(self) -> bool:
        """Whether it is gone; one that had enough tasks is ended now."""
        if not self.gone and self.task is None and self.tasks >= _TASKS_PER_PROCESS:
            self.end()
        return self.gone

    def give(self, task: Task) -> None:
        self.task, self.since = task, time.monotonic()
        self.tasks += 1
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
                return task, found
            self.process.join()
            code = self.process.exitcode
            self.end()
            return task, Verdict(number, Kind.CRASH, f"the process ended ({code})")
        # Starting takes a while for the first one.
        if time.monotonic() - self.since > patience + (60 if self.tasks == 1 else 0):
            self.end()
            return task, Verdict(number, Kind.SLOW, f"more than {patience:.0f} s")
        return None

    def end(self) -> None:
        self.gone, self.task = True, None
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(connection: Connection, change: Change | None) -> None:
    """The life of a process: programs or their numbers in, verdicts out; what is printed meanwhile is dropped."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    parent = os.getppid()
    # Processes that were forked later hold this pipe too, so the parent's end is not seen as the end of it.
    while os.getppid() == parent:
        if connection.poll(1.0):
            connection.send(_verdict(connection.recv(), change))


def _verdict(task: Task, change: Change | None) -> Verdict:
    number = task if isinstance(task, int) else task.number
    try:
        program = random_program(task) if isinstance(task, int) else task
        if isinstance(task, int) and change is not None:
            program = change(program)
        return judged(program)
    except Exception as error:
        return Verdict(number, Kind.CRASH, f"the judge failed: {type(error).__name__}: {error}")
