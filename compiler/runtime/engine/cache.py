"""A folder of built engines that processes share."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...ir.engine_spec import EngineArtifact, EngineSpec
from ...ir.strict_json import strict_json
from ..whole_file import remove_abandoned, write_whole

_MAGIC = b"trt-passes engine\n"
_SUFFIX = ".engine"


class EngineCache:
    """Engines by key, a file each; any number of processes may use the folder at once.

    Files are renamed into place whole and carry a checksum, so what is read is what was written or counts as missing.
    So does what is no file of this kind, such as a link: it would lead out of the folder.

    Args:
        folder: made if it is missing.
        limit: bytes of all files together; the least recently used go first.

    Raises:
        UserError: the folder cannot be made.
    """

    def __init__(self, folder: str, limit: int) -> None:
        self._folder, self._limit = Path(folder), limit
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"option 'cache_dir' is {folder!r}, which is no folder: {error.strerror}.") from error

    def get(self, key: str, name: str) -> EngineArtifact | None:
        """The engine of that key, under the name of a segment; None if there is none, or what is there is damaged.

        What is damaged is removed, so that `put` writes it anew.
        """
        started = time.perf_counter()
        path = self._path(key)
        try:
            kind = path.lstat().st_mode
            data = np.fromfile(path, dtype=np.uint8).data if stat.S_ISREG(kind) else memoryview(b"")
        except OSError:
            return None
        try:
            found = _unpacked(data, key)
        except (ValueError, KeyError, TypeError, UserError):
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            # The time of the last use decides which files go; another process may have removed this one meanwhile.
            os.utime(path)
        seconds = time.perf_counter() - started
        return replace(found, spec=replace(found.spec, name=name), build_seconds=seconds, cached=True)

    def put(self, key: str, engine: EngineArtifact) -> str | None:
        """Keep an engine, and remove what was not used for longest; why it is not kept, or None."""
        parts = _packed(engine, key)
        size = sum(len(part) for part in parts)
        if size > self._limit:
            return f"its {size} bytes are more than option 'cache_size' ({self._limit})"
        try:
            if self._path(key).is_symlink():
                self._path(key).unlink()
            write_whole(self._path(key), parts)
        except OSError as error:
            return f"{error.strerror or error}"
        self.trim()
        return None

    def trim(self) -> None:
        """Remove the least recently used engines until the rest is within the limit."""
        remove_abandoned(self._folder)
        total, entries = 0, []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            # Another process may remove a file at any time.
            with suppress(OSError):
                status = path.lstat()
                entries.append((status.st_mtime_ns, status.st_size, path))
                total += status.st_size
        for _, size, path in sorted(entries):
            if total <= self._limit:
                return
            total -= size
            with suppress(OSError):
                path.unlink()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"


class StoredEngines:
    """Engines by key in a user's own store, which keeps bytes.

    Args:
        store: has `save(key, blob)`, and `load(key)` that gives the bytes, or None for what it has not.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def get(self, key: str, name: str) -> EngineArtifact | None:
        """The engine of that key, under the name of a segment; None if there is none, or what is there is damaged."""
        started = time.perf_counter()
        data = self._store.load(key)
        if data is None:
            return None
        try:
            found = _unpacked(memoryview(data).cast("B"), key)
        except (ValueError, KeyError, TypeError, UserError):
            return None
        seconds = time.perf_counter() - started
        return replace(found, spec=replace(found.spec, name=name), build_seconds=seconds, cached=True)

    def put(self, key: str, engine: EngineArtifact) -> str | None:
        """Give an engine to the store; None, since what the store does with it is its own affair."""
        self._store.save(key, b"".join(_packed(engine, key)))
        return None

    def trim(self) -> None:
        """Nothing: the store has limits of its own."""


def _packed(engine: EngineArtifact, key: str) -> tuple[bytes | bytearray | memoryview, ...]:
    """Magic line, SHA-256 of the rest, length of the header, header in JSON, serialized engine."""
    content = {"key": key, "spec": engine.spec.to_json(), "log": engine.log, "layers": engine.layers}
    header = json.dumps(content).encode()
    length = len(header).to_bytes(8, "little")
    checksum = hashlib.sha256()
    for part in (length, header, engine.plan):
        checksum.update(part)
    return _MAGIC, checksum.digest(), length, header, engine.plan


def _unpacked(data: memoryview, key: str) -> EngineArtifact:
    start = len(_MAGIC)
    if bytes(data[:start]) != _MAGIC:
        raise ValueError("no engine of this package")
    rest = data[start + 32 :]
    if hashlib.sha256(rest).digest() != bytes(data[start : start + 32]):
        raise ValueError("the checksum is wrong")
    length = int.from_bytes(rest[:8], "little")
    content: dict[str, Any] = strict_json(bytes(rest[8 : 8 + length]))
    if content["key"] != key:
        raise ValueError("the engine of another network")
    spec, log, layers = EngineSpec.from_json(content["spec"]), content["log"], content["layers"]
    if not isinstance(log, str) or not isinstance(layers, list) or not all(isinstance(row, dict) for row in layers):
        raise ValueError("the record of the build is damaged")
    return EngineArtifact(rest[8 + length :], spec, 0.0, log, tuple(layers))
