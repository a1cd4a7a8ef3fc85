"""The kernels that TensorRT-RTX compiles on the GPU machine, kept in a file for the next process."""

from __future__ import annotations

import threading
import warnings
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..whole_file import write_whole


@dataclass
class _Stored:
    """TensorRT's caches by device, what they begin with, and the size of what the file holds."""

    path: Path | None
    caches: dict[int, Any] = field(default_factory=dict)
    data: bytes = b""
    nbytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    complained: bool = False

    def save(self) -> None:
        if self.path is None:
            return
        with self.lock:
            data = self.largest()
            # Kernels are only ever added, so what has the same size is the same.
            if data is not None and data.nbytes != self.nbytes:
                self._write(self.path, data)

    def largest(self) -> memoryview | None:
        """The kernels of the GPU that has most."""
        found = [memoryview(cache.serialize()) for cache in self.caches.values()]
        return max(found, key=lambda item: item.nbytes, default=None)

    def _write(self, path: Path, data: memoryview) -> None:
        try:
            write_whole(path, [data])
            self.nbytes = data.nbytes
        except OSError as error:
            if not self.complained:
                self.complained = True
                warnings.warn(
                    f"option 'runtime_cache_path' is {str(self.path)!r}, which cannot be written: {error.strerror}.",
                    RuntimeWarning,
                    stacklevel=2,
                )


class RuntimeCache:
    """One cache for all engines that use a file, see `runtime_cache`.

    The file is read when the first engine is loaded. It is written, whole, after the first run of every execution
    context and when the process ends, with the kernels of one GPU: the one that has most. Of several processes that
    write it, the last one wins. TensorRT checks that its content fits the GPU, the driver and the release.

    Args:
        path: the file; it need not exist. None keeps the kernels in memory, from where `data` gets them.
        data: kernels to begin with, in place of those in the file.
    """

    def __init__(self, path: str | None, data: bytes = b"") -> None:
        self._stored = _Stored(None if path is None else Path(path), data=data)
        # Kernels may be compiled in the background, after the last time that a call saved them.
        weakref.finalize(self, self._stored.save)

    def attach(self, config: Any, device: int) -> None:
        """Let an `IRuntimeConfig` of an engine on this device use the cache."""
        stored = self._stored
        with stored.lock:
            if device not in stored.caches:
                stored.caches[device] = self._read(config.create_runtime_cache())
            config.set_runtime_cache(stored.caches[device])

    def save(self) -> None:
        """Write what was added since the file was read or written."""
        self._stored.save()

    @property
    def data(self) -> bytes:
        """The kernels, as TensorRT-RTX writes them; what the cache began with until an engine uses it."""
        with self._stored.lock:
            found = self._stored.largest()
        return self._stored.data if found is None else bytes(found)

    def begin_with(self, data: bytes) -> None:
        """Have these kernels to begin with, on devices that no engine has used the cache on."""
        with self._stored.lock:
            self._stored.data = data

    def _read(self, cache: Any) -> Any:
        if self._stored.data or self._stored.path is None:
            if self._stored.data and not cache.deserialize(self._stored.data):
                self._say(
                    "is given data that is damaged, or of another GPU, driver or TensorRT: kernels are compiled anew"
                )
            return cache
        try:
            if not (self._stored.path.is_file() or self._stored.path.is_dir()) and self._stored.path.exists():
                self._say("is no file")  # a pipe or a device could be read for ever
                return cache
            data = self._stored.path.read_bytes()
        except FileNotFoundError:
            return cache
        except OSError as error:
            self._say(f"cannot be read: {error.strerror}")
            return cache
        if cache.deserialize(data):
            self._stored.nbytes = len(data)
        else:
            self._say("is damaged, or of another GPU, driver or TensorRT: kernels are compiled anew")
        return cache

    def _say(self, problem: str) -> None:
        warnings.warn(
            f"option 'runtime_cache_path' is {str(self._stored.path)!r}, which {problem}.", RuntimeWarning, stacklevel=2
        )


_OPEN: weakref.WeakValueDictionary[Path, RuntimeCache] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()


def runtime_cache(path: str) -> RuntimeCache:
    """The cache of a file. All modules of a process share it: none would keep the kernels that another one wrote."""
    place = Path(path).absolute()
    with _OPENING:
        cache = _OPEN.get(place)
        if cache is None:
            cache = _OPEN[place] = RuntimeCache(path)
        return cache
