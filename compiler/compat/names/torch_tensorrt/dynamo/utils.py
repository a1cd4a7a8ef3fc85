"""The names of `torch_tensorrt.dynamo.utils` that users' code has."""

from trt_passes.compiler.compat.tools import (
    ATOL,
    COSINE_THRESHOLD,
    DYNAMIC_DIM,
    RTOL,
    check_output_equal,
    cosine_similarity,
    deallocate_module,
    get_model_device,
    get_torch_inputs,
    input_is_dynamic,
    prepare_inputs,
    to_torch_device,
    to_torch_tensorrt_device,
    unified_dtype_converter,
)

__all__ = [
    "ATOL",
    "COSINE_THRESHOLD",
    "DYNAMIC_DIM",
    "RTOL",
    "check_output_equal",
    "cosine_similarity",
    "deallocate_module",
    "get_model_device",
    "get_torch_inputs",
    "input_is_dynamic",
    "prepare_inputs",
    "to_torch_device",
    "to_torch_tensorrt_device",
    "unified_dtype_converter",
]
