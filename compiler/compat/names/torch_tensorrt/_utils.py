"""The names of `torch_tensorrt._utils` that users' code has."""

from trt_passes.compiler.compat.platforms import is_orin, is_tegra_platform, is_thor, sanitized_torch_version

__all__ = ["is_orin", "is_tegra_platform", "is_thor", "sanitized_torch_version"]
