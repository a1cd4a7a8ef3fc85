"""Work in a copy of the process: done once, and done here when the copy cannot."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from trt_passes.compiler.instruments import side_process
from trt_passes.compiler.instruments.side_process import SideProcess

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot copy a process")


def writing(path: Path, only_in: int | None = None, hang: bool = False):
    """Work that notes which process did it; it fails, or hangs, in every process but `only_in`."""

    def work() -> None:
        if only_in is not None and os.getpid() != only_in:
            time.sleep(60 if hang else 0)
            raise OSError("not here")
        path.write_text(str(os.getpid()))

    return work


@needs_fork
def test_another_process_does_the_work(tmp_path: Path) -> None:
    SideProcess(writing(tmp_path / "done")).finish()
    assert int((tmp_path / "done").read_text()) != os.getpid()


@needs_fork
def test_work_goes_on_beside_threads(tmp_path: Path) -> None:
    lock = threading.Lock()
    with lock:
        thread = threading.Thread(target=lock.acquire, daemon=True)
        thread.start()
        SideProcess(writing(tmp_path / "done")).finish()
    thread.join()
    assert (tmp_path / "done").exists()


def test_what_the_copy_cannot_do_is_done_here(tmp_path: Path) -> None:
    SideProcess(writing(tmp_path / "done", only_in=os.getpid())).finish()
    assert int((tmp_path / "done").read_text()) == os.getpid()


def test_a_copy_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_process, "PATIENCE", 0.2)
    started = time.monotonic()
    SideProcess(writing(tmp_path / "done", only_in=os.getpid(), hang=True)).finish()
    assert time.monotonic() - started < 30
    assert int((tmp_path / "done").read_text()) == os.getpid()


def test_without_fork_it_is_done_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork", raising=False)
    SideProcess(writing(tmp_path / "done")).finish()
    assert int((tmp_path / "done").read_text()) == os.getpid()


def test_a_failure_here_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SideProcess(writing(tmp_path / "missing" / "done")).finish()


@needs_fork
def test_stopped_work_does_not_appear(tmp_path: Path) -> None:
    process = SideProcess(lambda: (time.sleep(0.5), (tmp_path / "done").write_text("x")))
    process.stop()
    time.sleep(0.8)
    assert not (tmp_path / "done").exists()
