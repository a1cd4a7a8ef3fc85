"""The file of compiled kernels, with stand-ins for TensorRT's caches; the real ones are in test_gpu_runtime.py."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from trt_passes.compiler.runtime.engine.runtime_cache import RuntimeCache, runtime_cache


class Kernels:
    """Like `IRuntimeCache`: takes only bytes that begin with K."""

    def __init__(self) -> None:
        self.data = b"K"

    def serialize(self) -> bytes:
        return self.data

    def deserialize(self, data: bytes) -> bool:
        if data.startswith(b"K"):
            self.data = data
        return data.startswith(b"K")


class Config:
    """Like `IRuntimeConfig`."""

    def create_runtime_cache(self) -> Kernels:
        return Kernels()

    def set_runtime_cache(self, cache: Kernels) -> None:
        self.cache = cache


def attached(cache: RuntimeCache, device: int = 0) -> Kernels:
    config = Config()
    cache.attach(config, device)
    return config.cache


def test_engines_of_a_device_share_kernels_and_the_next_process_has_them(tmp_path: Path) -> None:
    cache = RuntimeCache(str(tmp_path / "kernels"))
    kernels = attached(cache)
    assert attached(cache) is kernels
    assert attached(cache, 1) is not kernels
    kernels.data += b"one"
    cache.save()
    assert (tmp_path / "kernels").read_bytes() == b"Kone"
    assert attached(RuntimeCache(str(tmp_path / "kernels"))).data == b"Kone"


def test_modules_of_a_process_share_the_cache_of_a_file(tmp_path: Path) -> None:
    path = str(tmp_path / "kernels")
    first, second = runtime_cache(path), runtime_cache(f"{tmp_path}/other/../kernels".replace("other/../", ""))
    assert first is second
    assert runtime_cache(str(tmp_path / "others")) is not first


def test_the_file_is_written_only_when_kernels_were_added(tmp_path: Path) -> None:
    path = tmp_path / "kernels"
    path.write_bytes(b"Kone")
    cache = RuntimeCache(str(path))
    kernels = attached(cache)
    path.unlink()
    cache.save()
    assert not path.exists()
    kernels.data += b"two"
    cache.save()
    assert path.read_bytes() == b"Konetwo"


def test_kernels_of_another_machine_are_told_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "kernels"
    path.write_bytes(b"other")
    cache = RuntimeCache(str(path))
    with pytest.warns(RuntimeWarning, match="is damaged, or of another GPU, driver or TensorRT"):
        attached(cache)
    cache.save()
    assert path.read_bytes() == b"K"


def test_a_file_that_cannot_be_read_or_written_is_told_once(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="cannot be read"):
        attached(RuntimeCache(str(tmp_path)))
    cache = RuntimeCache(str(tmp_path / "missing" / "kernels"))
    kernels = attached(cache)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            kernels.data += b"x"
            cache.save()
    assert ["cannot be written" in str(item.message) for item in caught] == [True]


def test_what_was_compiled_in_the_background_is_written_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "kernels"
    code = (
        "import sys; from tests.compiler.runtime.engine.test_runtime_cache import RuntimeCache, attached\n"
        "cache = RuntimeCache(sys.argv[1]); attached(cache).data += b'late'"
    )
    root = Path(__file__).parents[4]
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=root)
    assert path.read_bytes() == b"Klate"
