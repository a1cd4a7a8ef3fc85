"""The names of `torch_tensorrt.dynamo.lowering.passes.remove_num_users_is_0_nodes`."""

from trt_passes.compiler.compat.cleanups import remove_num_users_is_0_nodes

__all__ = ["remove_num_users_is_0_nodes"]
