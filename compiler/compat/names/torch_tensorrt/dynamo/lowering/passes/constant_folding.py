"""The names of `torch_tensorrt.dynamo.lowering.passes.constant_folding`."""

from trt_passes.compiler.compat.cleanups import constant_fold

__all__ = ["constant_fold"]
