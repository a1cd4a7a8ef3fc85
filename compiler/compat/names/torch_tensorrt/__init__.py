"""The names of Torch-TensorRT, for `import trt_passes.torch_tensorrt as torch_tensorrt`: `trt_passes` does it all."""

from __future__ import annotations

import trt_passes.passes  # (says where the converters are)
from trt_passes.compiler.compat.compilation import compile, register_backends
from trt_passes.compiler.compat.compilation import method_engine as convert_method_to_trt_engine
from trt_passes.compiler.compat.device import Device
from trt_passes.compiler.compat.distributed import distributed_group
from trt_passes.compiler.compat.enums import DeviceType, EngineCapability, Platform, dtype, memory_format
from trt_passes.compiler.compat.features import ENABLED_FEATURES
from trt_passes.compiler.compat.files import load, save
from trt_passes.compiler.compat.input import Input
from trt_passes.compiler.compat.mutable import MutableTorchTensorRTModule
from trt_passes.compiler.compat.platforms import dump_build_info, get_build_info, set_device
from trt_passes.compiler.compat.windows import cross_compile_for_windows, load_cross_compiled_exported_program

from . import (
    _compile,
    _Device,
    _enums,
    _features,
    _Input,
    _utils,
    annotation,
    distributed,
    dynamo,
    fx,
    kernels,
    logging,
    ptq,
    runtime,
    ts,
)

__version__ = "2.12.0"
"""The release of Torch-TensorRT whose names these are."""

register_backends()

__all__ = [
    "ENABLED_FEATURES",
    "Device",
    "DeviceType",
    "EngineCapability",
    "Input",
    "MutableTorchTensorRTModule",
    "Platform",
    "annotation",
    "compile",
    "convert_method_to_trt_engine",
    "cross_compile_for_windows",
    "distributed",
    "distributed_group",
    "dtype",
    "dump_build_info",
    "dynamo",
    "fx",
    "get_build_info",
    "kernels",
    "load",
    "load_cross_compiled_exported_program",
    "logging",
    "memory_format",
    "ptq",
    "runtime",
    "save",
    "set_device",
    "ts",
]
