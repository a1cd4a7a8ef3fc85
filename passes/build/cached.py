"""Take engines from the engine cache, and build and keep those that it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ...compiler.ir.engine_spec import EngineArtifact
from ...compiler.ir.program import Segment
from ...compiler.pass_base import Context
from ...compiler.runtime.engine.cache import EngineCache
from ...compiler.tensorrt.network_key import network_key
from .threads import Result, build_concurrently


def build_with_cache(segments: Sequence[Segment], ctx: Context) -> dict[str, Result]:
    """The engine or the error of each segment, by name, like `build_concurrently`; engines say if they were cached.

    Without the setting `cache_dir` all are built.
    """
    folder = ctx.settings.cache_dir
    if folder is None or not segments:
        return build_concurrently(segments, ctx)
    cache = EngineCache(folder, ctx.settings.cache_size)
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


def _key(segment: Segment, ctx: Context) -> str | None:
    assert segment.network is not None, "the fact 'converted' says that every segment has a network"
    trt = segment.network.trt
    target = "" if trt.builds_without_gpu else f"{torch.cuda.get_device_name()} {torch.cuda.get_device_capability()}"
    return network_key(segment.network, ctx.settings, target)


def _keep(cache: EngineCache, key: str | None, engine: EngineArtifact, ctx: Context) -> None:
    if key is None:
        problem: str | None = "it has weights that TensorRT does not give back"
    else:
        problem = cache.put(key, engine)
    if problem is not None:
        ctx.note(f"the engine of {engine.spec.name} is not in the engine cache: {problem}.")
