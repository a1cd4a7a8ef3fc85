"""The names of `torch_tensorrt.dynamo._engine_cache`."""

from trt_passes.compiler.compat.engine_caches import BaseEngineCache, DiskEngineCache, UnpackedCacheHit

__all__ = ["BaseEngineCache", "DiskEngineCache", "UnpackedCacheHit"]
