"""Build several engines at once: a thread and a process each, as many as there are cores, and a prompt stop."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

from ...compiler.errors import Cancelled
from ...compiler.ir.engine_spec import EngineArtifact
from ...compiler.ir.network import Network
from ...compiler.ir.program import Segment
from ...compiler.pass_base import Context, ProgressCallback
from ...compiler.tensorrt.engine_builder import BuildError, BuildTimeout, build_engine
from ...compiler.tensorrt.plan_file import weight_bytes
from .copied import STACK_BYTES, build_in_copy, can_copy

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 1.5
"""How long to wait for stopped builds. TensorRT asks between two steps of its work; with large weights a step can take
longer, then the thread ends on its own, before the interpreter does."""

FIRST_WORD_SECONDS = 30.0
"""After how long a build is mentioned to those who see no progress; again after twice that, and so on."""

_LOGGER = logging.getLogger("trt_passes")

Result = EngineArtifact | BuildError


def build_concurrently(segments: Sequence[Segment], ctx: Context) -> dict[str, Result]:
    """Build segments that have networks; the engine or the error of each, by name.

    Raises:
        UserError: a setting that TensorRT cannot honour; other exceptions of a build likewise.
        Cancelled: the user asked to stop. A KeyboardInterrupt stops the builds too, and goes on.
    """
    jobs: queue.SimpleQueue[Segment] = queue.SimpleQueue()
    for segment in segments:
        jobs.put(segment)
    pool = _Pool(jobs, ctx)
    count = min(len(segments), _cores())
    # Not daemons: those would be torn out of TensorRT at exit, which aborts the process.
    threads = [threading.Thread(target=pool.work, name=f"build-{index}") for index in range(count)]
    try:
        _start(threads)
        while pool.busy(threads):
            pool.changed.wait(_POLL_SECONDS)
            pool.changed.clear()
            pool.mention_long_builds()
            if ctx.cancelled():
                raise Cancelled("stopped while building engines")
        pool.raise_failure()
    except BaseException:
        pool.stopped.set()
        deadline = time.monotonic() + _GRACE_SECONDS
        while pool.busy(threads) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        raise
    return {segment.name: pool.results[segment.name] for segment in segments}


class _Pool:
    def __init__(self, jobs: queue.SimpleQueue[Segment], ctx: Context) -> None:
        self.jobs, self.ctx = jobs, ctx
        self.stopped, self.changed = threading.Event(), threading.Event()
        self.results: dict[str, Result] = {}
        self._failure: BaseException | None = None
        self._finished = 0
        self._running: dict[str, tuple[float, float]] = {}
        self._counting, self._reporting = threading.Lock(), threading.Lock()

    def work(self) -> None:
        """Build one segment after the other until none is left or the pool is stopped."""
        try:
            self._work()
        finally:
            with self._counting:
                self._finished += 1
            self.changed.set()

    def _work(self) -> None:
        while not self.stopped.is_set():
            try:
                segment = self.jobs.get_nowait()
            except queue.Empty:
                return
            started = time.monotonic()
            with self._counting:
                self._running[segment.name] = started, started + FIRST_WORD_SECONDS
            try:
                self.results[segment.name] = self._build(segment)
            except BuildError as error:
                # Without its frames, whose variables would keep TensorRT's objects until the collector comes by.
                self.results[segment.name] = error.with_traceback(None)
            except BaseException as error:  # whatever it is, the waiting thread raises it
                self._failure = self._failure or error
                self.stopped.set()
            finally:
                with self._counting:
                    del self._running[segment.name]

    def mention_long_builds(self) -> None:
        """Say, as a warning of the logger "trt_passes", which builds take long, and when they will be ended."""
        now, limit = time.monotonic(), self.ctx.settings.build_seconds
        ended = f"after {limit:g} (build_seconds) it is split" if limit else "build_seconds=0 is no limit"
        with self._counting:
            late = {name: times for name, times in self._running.items() if now >= times[1]}
            for name, (started, due) in late.items():
                self._running[name] = started, 2 * due - started
        for name, (started, _) in late.items():
            _LOGGER.warning("the engine of %s has been building for %.0f s: %s", name, now - started, ended)

    def busy(self, threads: Sequence[threading.Thread]) -> bool:
        """Whether any of the threads that were started still works."""
        # Thread.is_alive errs after Thread.join was interrupted by Ctrl-C (https://bugs.python.org/issue45274).
        return self._finished < sum(thread.ident is not None for thread in threads)

    def raise_failure(self) -> None:
        """Raise what ended a thread before its time."""
        if self._failure is not None:
            raise self._failure

    def _build(self, segment: Segment) -> EngineArtifact:
        network = segment.network
        assert network is not None, "the fact 'converted' says that every segment has a network"
        seconds, name = self.ctx.settings.build_seconds, segment.name

        def progress(phase: str, done: int, total: int) -> None:
            with self._reporting:
                self.ctx.progress(f"build {name}: {phase}", done, total)

        def stopped() -> bool:
            return self.stopped.is_set() or self.ctx.cancelled()

        def in_copy(report: ProgressCallback, file: BinaryIO) -> EngineArtifact:
            settings = self.ctx.settings
            return build_engine(network, settings, name=name, progress=report, cancelled=lambda: False, file=file)

        if can_copy() and network.trt.builds_without_gpu:
            try:
                return build_in_copy(
                    in_copy,
                    name=name,
                    seconds=seconds,
                    progress=progress,
                    cancelled=stopped,
                    weights=weight_bytes(network),
                )
            except OSError:
                pass  # there is no room for another process, or for the engine on the disk
        return self._build_here(network, name, progress, stopped)

    def _build_here(
        self, network: Network, name: str, progress: ProgressCallback, stopped: Callable[[], bool]
    ) -> EngineArtifact:
        """Build in this thread, where the limit holds between two steps of TensorRT's work only."""
        seconds, started = self.ctx.settings.build_seconds, time.monotonic()

        def late() -> bool:
            return bool(seconds) and time.monotonic() - started > seconds

        try:
            return build_engine(
                network, self.ctx.settings, name=name, progress=progress, cancelled=lambda: stopped() or late()
            )
        except Cancelled:
            if stopped():
                raise
            raise BuildTimeout(name, seconds) from None


def _start(threads: Sequence[threading.Thread]) -> None:
    before = threading.stack_size(STACK_BYTES)
    try:
        for thread in threads:
            thread.start()
    finally:
        threading.stack_size(before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
