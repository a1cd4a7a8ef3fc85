"""Engine caches by the classes that Torch-TensorRT has for them."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..runtime.whole_file import write_whole
from .arguments import default_folder
from .compilation_settings import OF_ENGINES, CompilationSettings


def _placed(places: Mapping[Any, int]) -> Callable[[Any], Any]:
    return lambda item: f"%{places[item]}" if isinstance(item, torch.fx.Node) else item


class BaseEngineCache(ABC):
    """Where engines are kept: subclass it, and give an object of it as `custom_engine_cache`."""

    @staticmethod
    def get_hash(gm: torch.fx.GraphModule, inputs: Sequence[Any], settings: CompilationSettings) -> str:
        """A text that two models share if they differ in the numbers of their weights only.

        Keys of engines here depend on more, such as the version of TensorRT: this one is for a cache of your own.

        Args:
            gm: the graph.
            inputs: its `Input`s.
            settings: options; those that engines depend on count.
        """
        places = {node: place for place, node in enumerate(gm.graph.nodes)}
        rows: list[Any] = [
            (node.op, str(node.target), torch.fx.node.map_aggregate((node.args, node.kwargs), _placed(places)))
            for node in gm.graph.nodes
        ]
        rows += [(name, tuple(value.shape), str(value.dtype)) for name, value in sorted(gm.state_dict().items())]
        rows += [(str(item.shape), str(item.dtype), str(item.format)) for item in inputs]
        rows += sorted((name, str(value)) for name, value in vars(settings).items() if name in OF_ENGINES)
        return hashlib.sha256("\n".join(map(str, rows)).encode()).hexdigest()

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
