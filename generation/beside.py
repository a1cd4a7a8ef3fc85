"""Compile several programs of a model: the engines of one are built while the next one is traced."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch

from ..compiler.api import compile as compile_model
from ..compiler.errors import Cancelled
from ..compiler.instruments.protocol import Failure, Instrument, Step
from ..compiler.ir.program import Program
from ..compiler.ir.tracing import tracing
from ..compiler.pass_base import Pass


class Beside:
    """Compiles programs in threads, which take turns in all but building engines.

    Use it as a context manager: where the block ends, all are done.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}

    def start(self, name: str, program: Program, settings: Mapping[str, Any]) -> None:
        """Compile a program; comes back once its engines are being built, or it is done or has failed."""
        job = _Job(program, settings)
        self._jobs[name] = job
        job.thread.start()
        job.is_building.wait()

    def result(self, name: str) -> Any:
        """The compiled program, once it is there.

        Raises:
            Exception: whatever compiling it raised.
        """
        job = self._jobs.pop(name)
        job.thread.join()
        if job.error is not None:
            raise job.error
        return job.compiled

    def __enter__(self) -> Beside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # What still runs must not outlive the block, nor make someone wait who has pressed Ctrl-C.
        for job in self._jobs.values():
            if kind is not None:
                job.interrupt()
            job.thread.join()


class _Job:
    def __init__(self, program: Program, settings: Mapping[str, Any]) -> None:
        self.compiled: Any = None
        self.error: BaseException | None = None
        self.is_building, self._is_stopped = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._work, args=(program, settings), name="compile")
        self._device = torch.cuda.current_device() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]

    def interrupt(self) -> None:
        """Let the thread end its builds, and begin no other pass."""
        self._is_stopped.set()

    def _work(self, program: Program, settings: Mapping[str, Any]) -> None:
        try:
            if self._device is not None:
                torch.cuda.set_device(self._device)
            given = {**settings}
            instruments = [*given.pop("instruments", ()), _OthersMeanwhile(self.is_building, self._is_stopped)]
            self.compiled = compile_model(program, instruments=instruments, **given)
        except BaseException as error:  # whatever it is, the waiting thread raises it
            self.error = error
        finally:
            self.is_building.set()


class _OthersMeanwhile(Instrument):
    """Lets other threads trace and run passes while this one waits for its engines, and ends when it is stopped."""

    def __init__(self, is_building: threading.Event, is_stopped: threading.Event) -> None:
        self._is_building, self._is_stopped = is_building, is_stopped
        self._entered = 0

    def before_pass(self, index: int, item: Pass, program: Program) -> None:
        """Let go of what only one thread has at a time."""
        if self.should_stop():
            raise Cancelled("stopped before its engines were built")
        if item.name == "build":
            self._entered = _let_go()
            self._is_building.set()

    def should_stop(self) -> bool:
        """Whether nobody waits for the result any more."""
        return self._is_stopped.is_set()

    def verify(self, step: Step) -> None:
        """Take it again."""
        self._take()

    def on_failure(self, failure: Failure) -> None:
        """Take it again, likewise."""
        self._take()

    def _take(self) -> None:
        lock: Any = tracing()
        for _ in range(self._entered):
            lock.acquire()
        self._entered = 0


def _let_go() -> int:
    """Leave `tracing()` as often as this thread is in it; how often that was."""
    lock: Any = tracing()
    count = 0
    while True:
        try:
            lock.release()
        except RuntimeError:  # it is not this thread's any more
            return count
        count += 1
