"""The engine cache: what is found again, what is not, and what other processes and damage do to it."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.ir.engine_spec import Binding, EngineArtifact, EngineSpec
from trt_passes.compiler.runtime.engine import cache as engine_cache
from trt_passes.compiler.runtime.engine.cache import EngineCache
from trt_passes.compiler.runtime.whole_file import PREFIX, write_whole

SPEC = EngineSpec(
    "segment-00",
    "tensorrt_rtx",
    "1.6.1.120",
    (Binding("x", torch.float32, ("s0", 2), (1, 2), (2, 2), (8, 2)),),
    (Binding.static("y", torch.float16, (2,)),),
)
KEY, OTHER = "a" * 64, "b" * 64


def engine(size: int = 100, fill: int = 7) -> EngineArtifact:
    layers = ({"name": "fc", "type": "gemm", "nodes": ["linear"], "inputs": [], "outputs": []},)
    return EngineArtifact(memoryview(bytes([fill]) * size), SPEC, 1.5, "[info] a log\n", layers)


def test_what_was_put_is_found_under_the_name_that_is_asked_for(tmp_path: Path) -> None:
    cache = EngineCache(str(tmp_path / "new" / "folder"), 1 << 20)
    assert cache.get(KEY, "segment-07") is None
    assert cache.put(KEY, engine()) is None
    found = cache.get(KEY, "segment-07")
    assert found is not None
    assert bytes(found.plan) == bytes(engine().plan)
    assert found.spec == replace(SPEC, name="segment-07")
    assert (found.log, found.layers, found.cached) == (engine().log, engine().layers, True)
    assert found.build_seconds < 1
    assert cache.get(OTHER, "segment-00") is None


@pytest.mark.parametrize("position", [0, 20, 55, 60, 200, -1])
def test_a_poisoned_entry_counts_as_missing_and_is_removed(position: int, tmp_path: Path) -> None:
    cache = EngineCache(str(tmp_path), 1 << 20)
    cache.put(KEY, engine())
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    assert cache.get(KEY, "segment-00") is None
    assert not list(tmp_path.iterdir())
    cache.put(KEY, engine())
    assert cache.get(KEY, "segment-00") is not None


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_entry_counts_as_missing(part: float, tmp_path: Path) -> None:
    cache = EngineCache(str(tmp_path), 1 << 20)
    cache.put(KEY, engine())
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    assert cache.get(KEY, "segment-00") is None


def test_an_entry_under_another_name_is_not_taken(tmp_path: Path) -> None:
    cache = EngineCache(str(tmp_path), 1 << 20)
    cache.put(KEY, engine())
    (path,) = tmp_path.iterdir()
    path.rename(path.with_name(path.name.replace("a", "b")))
    assert cache.get(OTHER, "segment-00") is None


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    entry = len(b"".join(bytes(part) for part in engine_cache._packed(engine(), KEY)))
    cache = EngineCache(str(tmp_path), 3 * entry)
    keys = [letter * 64 for letter in "abcd"]
    for age, key in enumerate(keys[:3]):
        cache.put(key, engine())
        os.utime(tmp_path / f"{key}.engine", (1000 + age, 1000 + age))
    assert cache.get(keys[0], "segment-00") is not None
    cache.put(keys[3], engine())
    assert [cache.get(key, "segment-00") is not None for key in keys] == [True, False, True, True]


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    cache = EngineCache(str(tmp_path), 50)
    assert "more than option 'cache_size'" in str(cache.put(KEY, engine()))
    assert not list(tmp_path.iterdir())


def test_what_a_process_left_behind_is_removed(tmp_path: Path) -> None:
    old, new = tmp_path / f"{PREFIX}{'0' * 16}", tmp_path / f"{PREFIX}{'1' * 16}"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    EngineCache(str(tmp_path), 1 << 20).put(KEY, engine())
    assert not old.exists()
    assert new.exists()


def test_a_folder_that_is_none_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="'cache_dir'"):
        EngineCache(str(tmp_path / "file" / "folder"), 1)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Any, parts: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engine_cache, "write_whole", full)
    assert EngineCache(str(tmp_path), 1 << 20).put(KEY, engine()) == "No space left on device"


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def parts() -> Any:
        yield b"half"
        raise KeyboardInterrupt

    (tmp_path / "file").write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", parts())
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"before")]


def _work(folder: str, seed: int, torn: Any) -> None:
    # Room for two of three entries, so that processes also remove what others read.
    cache = EngineCache(folder, 2 * 200_800)
    for step in range(40):
        number = (seed + step) % 3
        key = f"{number:064x}"
        found = cache.get(key, "segment-00")
        if found is None:
            cache.put(key, engine(200_000, fill=number))
        elif bytes(found.plan) != bytes([number]) * 200_000:
            torn.value += 1


def test_processes_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    torn = context.Value("i", 0)
    processes = [context.Process(target=_work, args=(str(tmp_path), seed, torn)) for seed in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert torn.value == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(PREFIX)]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * 200_800


def test_links_are_no_entries_and_are_not_followed(tmp_path: Path) -> None:
    outside, cache = tmp_path / "outside", EngineCache(str(tmp_path / "cache"), 1 << 20)
    cache.put(KEY, engine())
    entry = tmp_path / "cache" / f"{KEY}.engine"
    entry.rename(outside)
    for target in (outside, tmp_path / "nowhere" / "file"):
        before = outside.read_bytes()
        entry.symlink_to(target)
        assert cache.get(KEY, "segment-00") is None
        assert not entry.is_symlink()
        entry.symlink_to(target)
        assert cache.put(KEY, engine(fill=8)) is None
        assert not entry.is_symlink()
        assert cache.get(KEY, "segment-00") is not None
        assert outside.read_bytes() == before
        entry.unlink()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("limit", [1 << 20, 0])
def test_links_that_lead_nowhere_count_and_go_like_files(limit: int, tmp_path: Path) -> None:
    (tmp_path / f"{KEY}.engine").symlink_to(tmp_path / "nowhere")
    EngineCache(str(tmp_path), limit).trim()
    assert (tmp_path / f"{KEY}.engine").is_symlink() is (limit > 0)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_counts_as_missing(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"{KEY}.engine"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    cache = EngineCache(str(tmp_path), 1 << 20)
    assert cache.get(KEY, "segment-00") is None
    said = cache.put(KEY, engine())
    assert said == (os.strerror(21) if kind == "folder" else None)


@pytest.mark.parametrize(
    "content",
    [[], {"key": KEY}, {"layers": 5}, {"layers": [5]}, {"log": 5}, {"spec": {"schema": "1"}}, {"spec": []}, "[" * 9999],
)
def test_a_sound_checksum_does_not_make_an_entry(content: Any, tmp_path: Path) -> None:
    cache = EngineCache(str(tmp_path), 1 << 20)
    honest = {"key": KEY, "spec": SPEC.to_json(), "log": "", "layers": []}
    merged = {**honest, **content} if isinstance(content, dict) and content != {"key": KEY} else content
    header = merged.encode() if isinstance(merged, str) else json.dumps(merged).encode()
    rest = len(header).to_bytes(8, "little") + header + b"plan"
    (tmp_path / f"{KEY}.engine").write_bytes(b"trt-passes engine\n" + hashlib.sha256(rest).digest() + rest)
    assert cache.get(KEY, "segment-00") is None
    assert not list(tmp_path.iterdir())
