"""The names of `conversion.converter_utils`."""

from trt_passes.compiler.compat.converter_tools import (
    broadcastable,
    cast_trt_tensor,
    create_constant,
    enforce_tensor_types,
    extend_attr_to_tuple,
    flatten_dims,
    get_axes_for_reduce_op,
    get_node_name,
    get_positive_dim,
    has_dynamic_shape,
    is_only_operator_on_placeholder,
    prepend_ones,
    to_numpy,
    to_torch,
)
from trt_passes.compiler.compat.converters import get_trt_tensor, set_layer_name
from trt_passes.compiler.compat.enums import SourceIR

__all__ = [
    "SourceIR",
    "broadcastable",
    "cast_trt_tensor",
    "create_constant",
    "enforce_tensor_types",
    "extend_attr_to_tuple",
    "flatten_dims",
    "get_axes_for_reduce_op",
    "get_node_name",
    "get_positive_dim",
    "get_trt_tensor",
    "has_dynamic_shape",
    "is_only_operator_on_placeholder",
    "prepend_ones",
    "set_layer_name",
    "to_numpy",
    "to_torch",
]
