"""`RuntimeSettings` and `RuntimeCache`: how TensorRT-RTX runs engines, changed without compiling again."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import did_you_mean
from ..runtime.compiled_module import CompiledModule
from ..runtime.engine.runtime_cache import RuntimeCache as KernelCache
from ..runtime.engine.runtime_cache import runtime_cache as cache_of_file
from ..runtime.whole_file import write_whole
from .mistakes import InvalidType, InvalidValue, NotPossible
from .modes import compiled_modules

_CAPTURES = ("disabled", "whole_graph_capture")
_STRATEGIES = ("lazy", "eager", "none")


class RuntimeCache:
    """Kernels that TensorRT-RTX compiles for a GPU, which modules can share.

    Args:
        path: the file that `load` reads and `save` writes; "" keeps the kernels in memory only.
        autosave_on_del: write it when the cache is no more.
    """

    def __init__(self, path: str | os.PathLike[str] = "", autosave_on_del: bool = False) -> None:
        self.path, self.autosave_on_del = os.fspath(path), bool(autosave_on_del)
        self.kernels = KernelCache(None)
        if autosave_on_del and self.path:
            weakref.finalize(self, _written, self.kernels, self.path)

    def __deepcopy__(self, memo: dict[int, Any]) -> RuntimeCache:
        # A copy of a module shares it, as modules may.
        return self

    def load(self, path: str | os.PathLike[str] | None = None) -> None:
        """Begin with the kernels in a file, if it is there; before engines use the cache."""
        place = Path(self._place(path))
        self.deserialize(place.read_bytes() if place.is_file() else b"")

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write the kernels to a file; nothing if there are none."""
        _written(self.kernels, self._place(path))

    def serialize(self) -> bytes:
        """The kernels, as TensorRT-RTX writes them."""
        return self.kernels.data

    def deserialize(self, data: bytes) -> None:
        """Begin with these kernels; before engines use the cache."""
        self.kernels.begin_with(data)

    def _place(self, path: str | os.PathLike[str] | None) -> str:
        place = self.path if path is None else os.fspath(path)
        if not place:
            raise InvalidValue("this RuntimeCache has no path: give one.")
        return place


def _written(kernels: KernelCache, path: str) -> None:
    if kernels.data:
        write_whole(Path(path), [kernels.data])


@dataclass(frozen=True)
class RuntimeSettings:
    """How engines run.

    Attributes:
        cuda_graph_strategy: "disabled", or "whole_graph_capture" for the option `cuda_graphs`.
        dynamic_shapes_kernel_specialization_strategy: "lazy", "eager" or "none", see the option of that name.
        runtime_cache: a `RuntimeCache`, the path of a file, or None. There is none by default.
    """

    cuda_graph_strategy: str = "disabled"
    dynamic_shapes_kernel_specialization_strategy: str = "lazy"
    runtime_cache: Any = None

    def __post_init__(self) -> None:
        for name, known in (
            ("cuda_graph_strategy", _CAPTURES),
            ("dynamic_shapes_kernel_specialization_strategy", _STRATEGIES),
        ):
            value = getattr(self, name)
            if value not in known:
                raise InvalidValue(f"{name} is {value!r}.{did_you_mean(str(value), known)}")
        if not isinstance(self.runtime_cache, str | os.PathLike | RuntimeCache | None):
            kind = type(self.runtime_cache).__name__
            raise InvalidType(f"runtime_cache is a {kind}: give a RuntimeCache, a path or None.")

    def merge(self, **overrides: Any) -> RuntimeSettings:
        """These settings with some replaced."""
        return replace(self, **_checked(overrides))


_NAMES = tuple(RuntimeSettings.__dataclass_fields__)


def _checked(overrides: dict[str, Any]) -> dict[str, Any]:
    for name in overrides:
        if name not in _NAMES:
            raise InvalidType(f"RuntimeSettings has no {name!r}.{did_you_mean(name, _NAMES)}")
    return overrides


def settings_of(module: CompiledModule) -> RuntimeSettings:
    """How a compiled module runs now."""
    options = module.options
    return RuntimeSettings(
        "whole_graph_capture" if options.cuda_graphs else "disabled",
        options.dynamic_shapes_kernel_specialization_strategy,
        vars(module).get("_shared_cache") or options.runtime_cache_path,
    )


def _set(module: CompiledModule, settings: RuntimeSettings) -> None:
    cache = settings.runtime_cache
    shared = cache if isinstance(cache, RuntimeCache) else None
    module.change_options(
        cuda_graphs=settings.cuda_graph_strategy != "disabled",
        dynamic_shapes_kernel_specialization_strategy=settings.dynamic_shapes_kernel_specialization_strategy,
        runtime_cache_path=None if shared is not None or cache is None else os.fspath(cache),
    )
    if shared is not None:
        module.runtime_cache = shared.kernels
    elif cache is None:
        module.runtime_cache = None
    else:
        module.runtime_cache = cache_of_file(os.fspath(cache))
    vars(module)["_shared_cache"] = shared


def apply_runtime_settings(target: Any, settings: RuntimeSettings) -> int:
    """Let the engines of a module run so from now on; the number of engines.

    Raises:
        RuntimeError: it has no engines.
    """
    try:
        modules = compiled_modules(target)
    except InvalidType as error:
        raise NotPossible(str(error)) from None
    for module in modules:
        _set(module, settings)
    return sum(len(module.segments) for module in modules)


class runtime_config(AbstractContextManager[Any]):
    """Meanwhile, the engines of a module, or of several, run with other settings.

    Args:
        target: the module, or a list of modules; what `as` names.
        overrides: fields of `RuntimeSettings`.
    """

    def __init__(self, target: Any, **overrides: Any) -> None:
        self._target, self._overrides = target, _checked(overrides)
        self._modules = compiled_modules(target)
        self._before: list[RuntimeSettings] = []
        RuntimeSettings(**overrides)  # mistakes are told before anything is entered

    def __enter__(self) -> Any:
        self._before = [settings_of(module) for module in self._modules]
        for module, before in zip(self._modules, self._before, strict=True):
            _set(module, before.merge(**self._overrides))
        return self._target

    def __exit__(self, *error: Any) -> None:
        for module, before in zip(self._modules, self._before, strict=True):
            _set(module, before)


def set_dynamic_shapes_kernel_strategy(target: Any, strategy: str) -> runtime_config:
    """Meanwhile, kernels for the very shapes that are met are compiled "lazy", "eager" or never ("none")."""
    return runtime_config(target, dynamic_shapes_kernel_specialization_strategy=strategy)


@contextmanager
def runtime_cache(target: Any, path: Any) -> Iterator[RuntimeCache]:
    """Meanwhile, the engines of a module, or of several, share a cache, which is read before and written after.

    Args:
        target: the module, or a list of modules.
        path: the file, or a stream of bytes, from which the cache is read and to which it is written once.
    """
    stream = path if hasattr(path, "read") else None
    cache = RuntimeCache("" if stream is not None else path)
    if stream is not None:
        cache.deserialize(stream.read())
    else:
        cache.load()
    with ExitStack() as stack:
        stack.enter_context(runtime_config(target, runtime_cache=cache))
        yield cache
    if stream is None:
        cache.save()
    elif cache.serialize():
        stream.write(cache.serialize())
