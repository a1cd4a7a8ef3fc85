"""The names of `torch_tensorrt.runtime`."""

from trt_passes.compiler.compat.absent import STREAM_PLANS, StreamPlanError
from trt_passes.compiler.compat.modes import (
    enable_cudagraphs,
    enable_output_allocator,
    enable_pre_allocated_outputs,
    get_cudagraphs_mode,
    get_whole_cudagraphs_mode,
    optimization_profile,
    set_cudagraphs_mode,
    set_multi_device_safe_mode,
    weight_streaming,
)
from trt_passes.compiler.compat.raw_engines import TorchTensorRTModule
from trt_passes.compiler.compat.runtime_settings import (
    RuntimeCache,
    RuntimeSettings,
    apply_runtime_settings,
    runtime_cache,
    runtime_config,
    set_dynamic_shapes_kernel_strategy,
)

from . import (
    _cudagraphs,
    _multi_device_safe_mode,
    _output_allocator,
    _pre_allocated_outputs,
    _weight_streaming,
)

stream_plan, apply_stream_plan, StreamPlan = STREAM_PLANS.values()
PythonTorchTensorRTModule = TorchTensorRTModule

__all__ = [
    "PythonTorchTensorRTModule",
    "RuntimeCache",
    "RuntimeSettings",
    "StreamPlan",
    "StreamPlanError",
    "TorchTensorRTModule",
    "apply_runtime_settings",
    "apply_stream_plan",
    "enable_cudagraphs",
    "enable_output_allocator",
    "enable_pre_allocated_outputs",
    "get_cudagraphs_mode",
    "get_whole_cudagraphs_mode",
    "optimization_profile",
    "runtime_cache",
    "runtime_config",
    "set_cudagraphs_mode",
    "set_dynamic_shapes_kernel_strategy",
    "set_multi_device_safe_mode",
    "stream_plan",
    "weight_streaming",
]
