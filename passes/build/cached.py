"""Take engines from the engine cache, and build and keep those that it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ...compiler.ir.engine_spec import EngineArtifact
from ...compiler.ir.program import Segment
from ...compiler.pass_base import Context
from ...compiler.runtime.engine.cache import EngineCache, StoredEngines
from ...compiler.tensorrt.network_key import network_key
from .threads import Result, build_concurrently


def build_with_cache(segments: Sequence[Segment], ctx: Context) -> dict[str, Result]:
    """The engine or the error of each segment, by name, like `build_concurrently`; engines say if they were cached.

    Without one of the settings `cache_dir` and `engine_cache` all are built.
    """
    cache = _cache(ctx)
    if cache is None or not segments:
        return build_concurrently(segments, ctx)
    keys = {segment.name: _key(segment, ctx) for segment in segments}
    found: dict[str, Result] = {}
    for name, key in keys.items():
        engine = None if key is None else cache.get(key, name)
        if engine is not None:
            found[name] = engine
    built = build_concurrently([segment for segment in segments if segment.name not in found], ctx)
    for name, result in built.items():
        if isinstance(result, EngineArtifact):
            _keep(cache, keys[name], result, ctx)
            built[name] = replace(result, cached=False)
    cache.trim()  # engines that were all found may be more than the limit of this compilation
    ctx.note(f"the engine cache had {len(found)} of {len(segments)} engines.")
    return found | built


def _cache(ctx: Context) -> EngineCache | StoredEngines | None:
    if ctx.settings.engine_cache is not None:
        return StoredEngines(ctx.settings.engine_cache)
    folder = ctx.settings.cache_dir
    return None if folder is None else EngineCache(folder, ctx.settings.cache_size)


def _key(segment: Segment, ctx: Context) -> str | None:
    assert segment.network is not None, "the fact 'converted' says that every segment has a network"
    trt = segment.network.trt
    target = "" if trt.builds_without_gpu else f"{torch.cuda.get_device_name()} {torch.cuda.get_device_capability()}"
    return network_key(segment.network, ctx.settings, target)


def _keep(cache: EngineCache | StoredEngines, key: str | None, engine: EngineArtifact, ctx: Context) -> None:
    if key is None:
        problem: str | None = "it has weights that TensorRT does not give back"
    else:
        problem = cache.put(key, engine)
    if problem is not None:
        ctx.note(f"the engine of {engine.spec.name} is not in the engine cache: {problem}.")
