"""The names of `torch_tensorrt.dynamo.lowering.passes.remove_assert_nodes`."""

from trt_passes.compiler.compat.cleanups import remove_assert_nodes

__all__ = ["remove_assert_nodes"]
