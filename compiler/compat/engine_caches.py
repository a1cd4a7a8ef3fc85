"""Engine caches by the classes that Torch-TensorRT has for them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from ..runtime.whole_file import write_whole
from .arguments import default_folder


class BaseEngineCache(ABC):
    """Where engines are kept: subclass it, and give an object of it as `custom_engine_cache`."""

    @abstractmethod
    def save(self, hash: str, blob: bytes, *args: Any, **kwargs: Any) -> None:
        """Keep what belongs to a key."""

    @abstractmethod
    def load(self, hash: str, *args: Any, **kwargs: Any) -> bytes | None:
        """What belongs to a key, or None."""


class DiskEngineCache(BaseEngineCache):
    """A folder of engines, a file each; the least recently used go first.

    Args:
        engine_cache_size: bytes of all files together.
        engine_cache_dir: the folder, by default among the user's temporary files.
    """

    def __init__(self, engine_cache_size: int = 5 << 30, engine_cache_dir: str | None = None) -> None:
        self.total_engine_cache_size = engine_cache_size
        self.engine_cache_dir = engine_cache_dir or default_folder("engine_cache")
        os.makedirs(self.engine_cache_dir, exist_ok=True)

    def save(self, hash: str, blob: bytes, *args: Any, **kwargs: Any) -> None:
        if len(blob) > self.total_engine_cache_size:
            return
        write_whole(self._path(hash), [blob])
        files = sorted(Path(self.engine_cache_dir).glob("*.blob"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for path in files:
            total += path.stat().st_size
            if total > self.total_engine_cache_size:
                path.unlink(missing_ok=True)

    def load(self, hash: str, *args: Any, **kwargs: Any) -> bytes | None:
        path = self._path(hash)
        if not path.is_file():
            return None
        os.utime(path)
        return path.read_bytes()

    def _path(self, hash: str) -> Path:
        return Path(self.engine_cache_dir) / f"{hash}.blob"
