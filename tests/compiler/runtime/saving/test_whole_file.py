"""Files that replace others: on the disk before they take the place."""

import os
from pathlib import Path

import pytest
from trt_passes.compiler.instruments.dump_files import staged, write_text
from trt_passes.compiler.runtime.engine.runtime_cache import _Stored
from trt_passes.compiler.runtime.whole_file import write_archive, write_whole


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was made sure to be on the disk, with its contents, and what was renamed then, in that order."""
    found: list[tuple[str, str]] = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        found.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).read_text()))

    def moved(source: Path, target: Path) -> None:
        found.append(("rename", Path(target).name))
        (rename if Path(source).is_dir() else replace)(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    monkeypatch.setattr(os, "rename", moved)
    return found


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_whole(path, [b"new"]),
        lambda path: write_archive(path, lambda file: file.write(b"new")),
        lambda path: write_text(path, "new"),
        lambda path: _Stored(path)._write(path, memoryview(b"new")),
    ],
    ids=["bytes", "archive", "text", "kernels"],
)
def test_files_are_on_the_disk_before_they_are_renamed(write: object, events: list[str], tmp_path: Path) -> None:
    write(tmp_path / "file")  # type: ignore[operator]
    assert events == [("fsync", "new"), ("rename", "file")]
    assert (tmp_path / "file").read_text() == "new"


def test_folders_are_on_the_disk_before_they_are_renamed(events: list[str], tmp_path: Path) -> None:
    with staged(tmp_path, "folder") as path:
        (path / "inner").mkdir()
        (path / "inner" / "file").write_text("new")
    assert events == [("fsync", "new"), ("rename", "folder")]


def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("before")
    (tmp_path / ".writing-run.json").symlink_to(victim)
    write_text(tmp_path / "run.json", "new")
    assert victim.read_text() == "before"
