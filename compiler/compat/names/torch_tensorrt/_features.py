"""The names of `torch_tensorrt._features`."""

from trt_passes.compiler.compat.features import (
    ENABLED_FEATURES,
    for_all_methods,
    has_torch_tensorrt_runtime,
    has_torchscript_frontend,
    needs_cross_compile,
    needs_native_collectives,
    needs_not_tensorrt_rtx,
    needs_qdp_plugin,
    needs_refit,
    needs_tensorrt_rtx,
    needs_torch_tensorrt_runtime,
    needs_trtllm_for_nccl,
)
from trt_passes.compiler.compat.features import Features as FeatureSet

__all__ = [
    "ENABLED_FEATURES",
    "FeatureSet",
    "for_all_methods",
    "has_torch_tensorrt_runtime",
    "has_torchscript_frontend",
    "needs_cross_compile",
    "needs_native_collectives",
    "needs_not_tensorrt_rtx",
    "needs_qdp_plugin",
    "needs_refit",
    "needs_tensorrt_rtx",
    "needs_torch_tensorrt_runtime",
    "needs_trtllm_for_nccl",
]
