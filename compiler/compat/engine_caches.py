"""Engine caches by the classes that Torch-TensorRT has for them."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..ir.strict_json import strict_json
from ..runtime.whole_file import write_whole
from .arguments import default_folder
from .as_json import as_json, from_json
from .compilation_settings import OF_ENGINES, CompilationSettings
from .mistakes import InvalidValue

_MAGIC = b"engine packed by trt_passes\n"


UnpackedCacheHit = tuple[
    bytes, list[str], list[str], Sequence[Any], CompilationSettings, dict[str, Any] | None, bool, bool
]
"""What `pack` was given: an engine, names of its inputs and outputs, and how it was made."""


def _placed(places: Mapping[Any, int]) -> Callable[[Any], Any]:
    return lambda item: f"%{places[item]}" if isinstance(item, torch.fx.Node) else item


class BaseEngineCache(ABC):
    """Where engines are kept: subclass it, and give an object of it as `custom_engine_cache`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()  # subclasses may hand on arguments of their own

    @staticmethod
    def get_hash(gm: torch.fx.GraphModule, input_specs: Sequence[Any], settings: CompilationSettings) -> str:
        """A text that two models share if they differ in the numbers of their weights only.

        Keys of engines here depend on more, such as the version of TensorRT: this one is for a cache of your own.

        Args:
            gm: the graph.
            input_specs: its `Input`s.
            settings: options; those that engines depend on count.
        """
        places = {node: place for place, node in enumerate(gm.graph.nodes)}
        rows: list[Any] = [
            (node.op, str(node.target), torch.fx.node.map_aggregate((node.args, node.kwargs), _placed(places)))
            for node in gm.graph.nodes
        ]
        rows += [(name, tuple(value.shape), str(value.dtype)) for name, value in sorted(gm.state_dict().items())]
        rows += [(str(item.shape), str(item.dtype), str(item.format)) for item in input_specs]
        rows += sorted((name, str(value)) for name, value in vars(settings).items() if name in OF_ENGINES)
        return hashlib.sha256("\n".join(map(str, rows)).encode()).hexdigest()

    @staticmethod
    def pack(
        serialized_engine: bytes,
        input_names: Sequence[str],
        output_names: Sequence[str],
        input_specs: Sequence[Any],
        compilation_settings: CompilationSettings,
        weight_name_map: Mapping[str, Any] | None = None,
        requires_output_allocator: bool = False,
        requires_native_multidevice: bool = False,
    ) -> bytes:
        """An engine and what must be known of it in one piece, for `save`.

        Args:
            serialized_engine: its bytes.
            input_names, output_names: names of its bindings.
            input_specs: its `Input`s.
            compilation_settings: how it was made.
            weight_name_map, requires_output_allocator, requires_native_multidevice: kept as they are.
        """
        record = {
            "input_names": list(input_names),
            "output_names": list(output_names),
            "input_specs": [as_json(item) for item in input_specs],
            "settings": as_json(compilation_settings),
            "weight_name_map": as_json(weight_name_map if weight_name_map is None else dict(weight_name_map)),
            "flags": [bool(requires_output_allocator), bool(requires_native_multidevice)],
        }
        text = json.dumps(record).encode()
        return b"".join((_MAGIC, len(text).to_bytes(8, "little"), text, bytes(serialized_engine)))

    @staticmethod
    def unpack(packed_obj: bytes) -> UnpackedCacheHit:
        """What `pack` was given.

        Raises:
            ValueError: it is nothing that `pack` gave.
        """
        start = len(_MAGIC) + 8
        if bytes(packed_obj[: len(_MAGIC)]) != _MAGIC:
            raise InvalidValue("this is no engine that BaseEngineCache.pack packed: give what it returned.")
        end = start + int.from_bytes(packed_obj[len(_MAGIC) : start], "little")
        try:
            record = strict_json(bytes(packed_obj[start:end]))
            named = list(record["input_names"]), list(record["output_names"])
            inputs, settings = [from_json(item) for item in record["input_specs"]], from_json(record["settings"])
            weights = (
                record["weight_name_map"] if record["weight_name_map"] is None else from_json(record["weight_name_map"])
            )
            allocates, several = map(bool, record["flags"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidValue(f"the packed engine is damaged ({error!r}): build it again.") from None
        return bytes(packed_obj[end:]), *named, inputs, settings, weights, allocates, several

    def insert(self, hash: str, entry: Sequence[Any], *args: Any, **kwargs: Any) -> None:
        """Keep what `unpack` gives, by a key: `save` gets it packed."""
        self.save(hash, BaseEngineCache.pack(*entry), *args, **kwargs)

    def check(self, hash: str, *args: Any, **kwargs: Any) -> UnpackedCacheHit | None:
        """What was inserted by a key, or None."""
        blob = self.load(hash, *args, **kwargs)
        return None if blob is None else BaseEngineCache.unpack(blob)

    @abstractmethod
    def save(self, hash: str, blob: bytes, *args: Any, **kwargs: Any) -> None:
        """Keep what belongs to a key."""

    @abstractmethod
    def load(self, hash: str, *args: Any, **kwargs: Any) -> bytes | None:
        """What belongs to a key, or None."""


class DiskEngineCache(BaseEngineCache):
    """A folder of engines, a file each; the least recently used go first.

    Args:
        engine_cache_dir: the folder, by default among the user's temporary files.
        engine_cache_size: bytes of all files together.
    """

    def __init__(self, engine_cache_dir: str | None = None, engine_cache_size: int = 5 << 30) -> None:
        super().__init__()
        self.total_engine_cache_size = engine_cache_size
        self.engine_cache_dir = engine_cache_dir or default_folder("engine_cache")
        os.makedirs(self.engine_cache_dir, exist_ok=True)

    @property
    def available_engine_cache_size(self) -> int:
        """Bytes that can be written before what was not used for longest goes."""
        return self.total_engine_cache_size - sum(path.stat().st_size for path in self._files())

    def has_available_cache_size(self, needed_size: int) -> bool:
        """Whether so many bytes can be written before what was not used for longest goes."""
        return needed_size <= self.available_engine_cache_size

    def clear_cache(self, needed_min_size: int) -> None:
        """Remove what was not used for longest until so many bytes are free, or nothing is left."""
        for path in self._files():
            if self.has_available_cache_size(needed_min_size):
                return
            path.unlink(missing_ok=True)

    def save(self, hash: str, blob: bytes, *args: Any, **kwargs: Any) -> None:
        if len(blob) > self.total_engine_cache_size:
            warnings.warn(
                f"an engine of {len(blob)} bytes is not kept, since the cache is for {self.total_engine_cache_size}.",
                UserWarning,
                stacklevel=2,
            )
            return
        self._path(hash).unlink(missing_ok=True)
        self.clear_cache(len(blob))
        write_whole(self._path(hash), [blob])

    def load(self, hash: str, *args: Any, **kwargs: Any) -> bytes | None:
        path = self._path(hash)
        if not path.is_file():
            return None
        os.utime(path)
        return path.read_bytes()

    def _files(self) -> list[Path]:
        """The files, those that were not used for longest first."""
        return sorted(Path(self.engine_cache_dir).glob("*.blob"), key=lambda path: path.stat().st_mtime_ns)

    def _path(self, hash: str) -> Path:
        return Path(self.engine_cache_dir) / f"{hash}.blob"
