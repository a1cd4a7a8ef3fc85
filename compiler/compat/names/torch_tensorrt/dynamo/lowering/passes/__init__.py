"""The names of `torch_tensorrt.dynamo.lowering.passes`."""

from . import (
    constant_folding,
    pass_utils,
    remove_assert_nodes,
    remove_detach,
    remove_num_users_is_0_nodes,
    repair_input_as_output,
)
from ._aten_lowering_pass import (
    _aten_lowering_pass,
    _remove_lowering_pass,
    dump_lowering_passes,
    post_lowering,
    pre_export_lowering,
)
from .pass_utils import clean_up_graph_after_modifications, get_tensor_placeholders

__all__ = [
    "_aten_lowering_pass",
    "_remove_lowering_pass",
    "clean_up_graph_after_modifications",
    "dump_lowering_passes",
    "get_tensor_placeholders",
    "pass_utils",
    "post_lowering",
    "pre_export_lowering",
]
