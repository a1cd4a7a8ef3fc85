"""Trials in child processes, so that a crash of TensorRT's builder ends one sample and not the run."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch
from trt_passes.compiler.tensorrt.loader import load
from trt_passes.passes.convert import default_registry
from trt_passes.passes.decompose import decompositions

from .dynamic import dynamic_outcome
from .outcome import Kind, Outcome
from .samples import Sample, samples
from .trial import first_line, static_outcome

_PATIENCE = 180.0
"""Seconds after which a sample counts as hanging."""

_TASKS_PER_PROCESS = 60
"""Tasks after which a worker is replaced: TensorRT and torch.export keep some memory of every network and program."""


@dataclass(frozen=True)
class Task:
    """Samples of one entry in one dtype: at most `static` with fixed and `dynamic` with varying sizes."""

    operator: str
    dtype: torch.dtype
    static: int
    dynamic: int


@dataclass(frozen=True)
class Trial:
    """What became of one sample, with fixed or with varying sizes."""

    task: Task
    index: int
    text: str
    dynamic: bool
    outcome: Outcome


@dataclass(frozen=True)
class _Started:
    """A worker's word that it begins a trial, sent ahead in case that it does not end it."""

    step: int
    trial: Trial


def run_task(task: Task, skip: int = 0, started: Callable[[_Started], None] = lambda _: None) -> Iterator[Trial]:
    """The trials of a task in a fixed order, without the first `skip`."""
    step = 0
    for dynamic, most in ((False, task.static), (True, task.dynamic)):
        for sample in _made(task, most):
            if isinstance(sample, Outcome):
                yield Trial(task, -1, "no samples", dynamic, sample)
                return
            if dynamic and not any(size >= 2 for tensor in sample.tensors for size in tensor.shape):
                continue
            step += 1
            if step <= skip:
                continue
            trial = Trial(task, sample.index, sample.text, dynamic, Outcome(Kind.WRONG, "did not end"))
            started(_Started(step, trial))
            yield replace(trial, outcome=_outcome(sample, dynamic))


def _made(task: Task, most: int) -> Iterator[Sample | Outcome]:
    """At most `most` samples; if PyTorch cannot make them, one outcome that says so."""
    try:
        yield from samples(task.operator, task.dtype, most) if most else ()
    except Exception as error:
        yield Outcome(Kind.NOT_APPLICABLE, f"no samples: {first_line(error)}")


def _outcome(sample: Sample, dynamic: bool) -> Outcome:
    try:
        return dynamic_outcome(sample) if dynamic else static_outcome(sample)
    except Exception as error:
        return Outcome(Kind.WRONG, f"the driver failed: {first_line(error)}")


def run_tasks(tasks: Sequence[Task], processes: int) -> Iterator[Trial]:
    """All trials of all tasks, in the order in which they end."""
    _prepare()
    waiting = [(task, 0) for task in reversed(tasks)]
    pool: list[_Worker] = []
    try:
        while waiting or any(worker.busy for worker in pool):
            pool = [worker for worker in pool if not worker.retired()]
            while waiting and len(pool) < processes:
                pool.append(_Worker.start())
            for worker in pool:
                if waiting and not worker.busy:
                    worker.give(*waiting.pop())
            ready = wait([worker.connection for worker in pool if worker.busy], timeout=1.0)
            for worker in pool:
                if worker.connection in ready:
                    trial = worker.receive()
                    if trial is not None:
                        yield trial
                if worker.stuck:
                    assert worker.task is not None
                    if worker.current is not None:
                        waiting.append((worker.task, worker.step))
                    yield worker.obituary()
    finally:
        for worker in pool:
            worker.end()


def _prepare() -> None:
    """Import in the parent what every worker needs, so that workers start fast and all with the same converters."""
    default_registry()
    decompositions()
    load()
    importlib.import_module("trt_passes.compiler.tensorrt.executor")


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    connection: Connection
    task: Task | None = None
    step: int = 0
    current: Trial | None = None
    since: float = 0.0
    tasks: int = 0
    died: bool = False
    gone: bool = False

    @classmethod
    def start(cls) -> _Worker:
        # A forked process has torch and op_db already; nothing was computed in the parent that threads could wait for.
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    @property
    def busy(self) -> bool:
        return self.task is not None and not self.gone

    def retired(self) -> bool:
        """Whether it is gone; one that had enough tasks is ended now."""
        if not self.gone and not self.busy and self.tasks >= _TASKS_PER_PROCESS:
            self.end()
        return self.gone

    @property
    def stuck(self) -> bool:
        """Whether it died, or works on one sample for too long."""
        return self.busy and (self.died or time.monotonic() - self.since > _PATIENCE)

    def give(self, task: Task, skip: int) -> None:
        self.task, self.step, self.current, self.since = task, skip, None, time.monotonic()
        self.tasks += 1
        self.connection.send((task, skip))

    def receive(self) -> Trial | None:
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.died = True
            return None
        self.since = time.monotonic()
        if isinstance(message, _Started):
            self.step, self.current = message.step, message.trial
        elif isinstance(message, Trial):
            self.current = None
            return message
        else:
            self.task = None
        return None

    def obituary(self) -> Trial:
        """The trial at which it died or hung, as wrong; it is ended.

        Between two trials it makes samples, which is PyTorch's work: then nothing more of the task can be tried.
        """
        if self.died:
            self.process.join()
        self.end()
        how = f"ended the process ({self.process.exitcode})" if self.died else f"took more than {_PATIENCE:.0f} s"
        assert self.task is not None
        if self.current is None:
            return Trial(self.task, -1, "no samples", False, Outcome(Kind.NOT_APPLICABLE, f"making samples {how}"))
        return replace(self.current, outcome=Outcome(Kind.WRONG, how))

    def end(self) -> None:
        self.gone = True
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(connection: Connection) -> None:
    """The life of a worker: tasks in, trials out. What TensorRT prints on stderr by itself is dropped."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)
    parent = os.getppid()
    # Workers that were forked later hold this pipe too, so the parent's end is not seen as the end of it.
    while os.getppid() == parent:
        if connection.poll(1.0):
            task, skip = connection.recv()
            for trial in run_task(task, skip, connection.send):
                connection.send(trial)
            connection.send(None)
