"""Building an engine in a copy of the process, which can be ended when it takes too long, and can crash alone."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, BinaryIO

from ...compiler.errors import Cancelled
from ...compiler.ir.engine_spec import EngineArtifact
from ...compiler.pass_base import ProgressCallback
from ...compiler.tensorrt.builders import builder_guard
from ...compiler.tensorrt.engine_builder import BuildError, BuildTimeout
from ...compiler.tensorrt.plan_file import mapped, plan_file

STACK_BYTES = 512 << 20
"""TensorRT recurses along chains of layers: 5,000 overflow the usual 8 MiB and end the process, and not this."""

_POLL_SECONDS = 0.1
_PARENT_DEATH_SIGNAL = 1
_CUDA_ERROR_NOT_INITIALIZED = 3

Work = Callable[[ProgressCallback, BinaryIO], EngineArtifact]
"""Is given where to report progress, and the file for the engine."""


def can_copy() -> bool:
    """Whether this process can be copied: the system can, and no GPU is in use, or the copy could hang."""
    return hasattr(os, "fork") and not _gpu_in_use()


def _gpu_in_use() -> bool:
    """Whether anything in this process has started the CUDA driver, be it PyTorch or TensorRT."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return int(driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int()))) != _CUDA_ERROR_NOT_INITIALIZED


def build_in_copy(
    work: Work,
    *,
    name: str,
    seconds: float,
    progress: ProgressCallback,
    cancelled: Callable[[], bool],
    weights: int = 0,
) -> EngineArtifact:
    """Do a build in a copy of this process. TensorRT compiles a network in one step, which nothing else can stop.

    Args:
        work: builds the engine.
        name: of the segment.
        seconds: how long it may take; 0 for as long as it likes.
        progress: is told what the build reports, and how many seconds it has taken, at least every second.
        cancelled: asked all the time; the copy ends once it says True.
        weights: bytes of the network's weights.

    Raises:
        BuildError: TensorRT built nothing, or its process crashed.
        BuildTimeout: the time was up.
        Cancelled: `cancelled` said so.
        OSError: the system has no room for a copy. Whatever else the work raises, likewise.
    """
    with plan_file(weights) as file:
        copy = _Copy.start(work, file)
        try:
            return copy.result(name, seconds, progress, cancelled)
        finally:
            copy.end()


@dataclass
class _Copy:
    process: int
    messages: Connection
    file: Any
    ended: int | None = None

    @classmethod
    def start(cls, work: Work, file: Any) -> _Copy:
        # With the guard no other thread holds TensorRT's lock, or copies the process while the pipe is open.
        with builder_guard(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about the locks of other threads
            receive, send = Pipe(duplex=False)
            process = os.fork()
            if process:
                send.close()
        if process:
            return cls(process, receive, file)
        _work_and_exit(work, send, file)
        raise AssertionError("a copy never comes back")

    def result(
        self, name: str, seconds: float, progress: ProgressCallback, cancelled: Callable[[], bool]
    ) -> EngineArtifact:
        started = shown = time.monotonic()
        latest: tuple[str, int, int] = ("starting", 0, 0)
        while True:
            ready = self.messages.poll(_POLL_SECONDS)
            now = time.monotonic()
            if ready:
                try:
                    kind, content = self.messages.recv()
                except EOFError:
                    raise BuildError(name, (self._last_words(),)) from None
                if kind == "engine":
                    return self._engine(content)
                if kind == "error":
                    raise content
                latest = content
            if cancelled():
                raise Cancelled(f"the build of {name} was stopped")
            if seconds and now - started > seconds:
                raise BuildTimeout(name, seconds)
            if ready or now - shown >= 1:
                shown = now
                phase, done, total = latest
                progress(f"{phase}, {now - started:.0f} s" if now - started >= 1 else phase, done, total)

    def _engine(self, parts: tuple[EngineArtifact, int]) -> EngineArtifact:
        artifact, nbytes = parts
        return replace(artifact, plan=mapped(self.file, nbytes))

    def _last_words(self) -> str:
        self._wait()
        if self.ended is not None and self.ended < 0:
            return f"the builder crashed ({signal.Signals(-self.ended).name})"
        return f"the builder's process ended (exit code {self.ended})"

    def end(self) -> None:
        """End the copy, if it still runs."""
        self.messages.close()
        if self.ended is None:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
            self._wait()

    def _wait(self) -> None:
        with suppress(ChildProcessError):  # the program reaps its children itself
            self.ended = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


def _work_and_exit(work: Work, send: Connection, file: Any) -> None:
    status = 1
    gc.disable()  # a collection would copy all of the memory that this process shares
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN) if threading.current_thread() is threading.main_thread() else None
        _end_with_parent()
        threading.stack_size(STACK_BYTES)
        thread = threading.Thread(target=_work, args=(work, send, file))
        thread.start()
        thread.join()
        status = 0
    finally:
        os._exit(status)


def _work(work: Work, send: Connection, file: Any) -> None:
    try:
        artifact = work(lambda *step: send.send(("progress", step)), file)
        send.send(("engine", (replace(artifact, plan=b""), len(artifact.plan))))
    except Exception as error:
        send.send(("error", _sendable(error)))


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    """Let the system end this process when the thread that copied it is gone (Linux)."""
    with suppress(Exception):
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
