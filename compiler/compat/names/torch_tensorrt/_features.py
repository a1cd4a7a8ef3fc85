"""The names of `torch_tensorrt._features`."""

from trt_passes.compiler.compat.features import ENABLED_FEATURES
from trt_passes.compiler.compat.features import Features as FeatureSet

__all__ = ["ENABLED_FEATURES", "FeatureSet"]
