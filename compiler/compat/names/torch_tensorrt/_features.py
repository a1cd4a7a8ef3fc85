"""The name of `torch_tensorrt._features`."""

from trt_passes.compiler.compat.features import ENABLED_FEATURES

__all__ = ["ENABLED_FEATURES"]
