"""`trt_passes.transformers`: generation with models of transformers; needs `pip install trt-passes[transformers]`."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("transformers") is None:
    raise ImportError(
        "trt_passes.transformers needs the library transformers: pip install 'trt-passes[transformers]'",
        name="transformers",
    )

from trt_passes.generation.cache import CompiledCache
from trt_passes.generation.compile import compile_for_generation

__all__ = ["CompiledCache", "compile_for_generation"]
