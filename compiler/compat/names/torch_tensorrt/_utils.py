"""The names of `torch_tensorrt._utils` that users' code has."""

from trt_passes.compiler.compat.platforms import (
    check_cross_compile_trt_win_lib,
    is_orin,
    is_tegra_platform,
    is_tensorrt_rtx_version_supported,
    is_tensorrt_version_supported,
    is_thor,
    sanitized_torch_version,
)

__all__ = [
    "check_cross_compile_trt_win_lib",
    "is_orin",
    "is_tegra_platform",
    "is_tensorrt_rtx_version_supported",
    "is_tensorrt_version_supported",
    "is_thor",
    "sanitized_torch_version",
]
