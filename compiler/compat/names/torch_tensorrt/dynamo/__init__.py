"""The names of `torch_tensorrt.dynamo`."""

from __future__ import annotations

from trt_passes.compiler.compat.compilation import compile_program as compile
from trt_passes.compiler.compat.compilation import program_of as export
from trt_passes.compiler.compat.compilation import (
    serialized_engine as convert_exported_program_to_serialized_trt_engine,
)
from trt_passes.compiler.compat.compilation import trace
from trt_passes.compiler.compat.compilation_settings import CompilationSettings
from trt_passes.compiler.compat.debugging import Debugger
from trt_passes.compiler.compat.enums import SourceIR
from trt_passes.compiler.compat.refit import refit_module_weights
from trt_passes.compiler.compat.windows import cross_compile_program_for_windows as cross_compile_for_windows
from trt_passes.compiler.compat.windows import (
    load_cross_compiled_exported_program,
    save_cross_compiled_exported_program,
)

from . import (
    _compiler,
    _defaults,
    _engine_cache,
    _exporter,
    _refit,
    _settings,
    _SourceIR,
    _tracer,
    backend,
    conversion,
    debug,
    lowering,
    partitioning,
    runtime,
    types,
    utils,
)

__all__ = [
    "CompilationSettings",
    "Debugger",
    "SourceIR",
    "backend",
    "compile",
    "conversion",
    "convert_exported_program_to_serialized_trt_engine",
    "cross_compile_for_windows",
    "export",
    "load_cross_compiled_exported_program",
    "lowering",
    "partitioning",
    "refit_module_weights",
    "runtime",
    "save_cross_compiled_exported_program",
    "trace",
    "utils",
]
