"""The names of `torch_tensorrt.dynamo.lowering.passes._aten_lowering_pass`."""

from trt_passes.compiler.compat.lowering import post_lowering, pre_export_lowering
from trt_passes.compiler.compat.lowering_passes import aten_lowering_pass as _aten_lowering_pass
from trt_passes.compiler.compat.lowering_passes import get_lowering_pass_config
from trt_passes.compiler.compat.lowering_passes import lowering_passes_text as dump_lowering_passes
from trt_passes.compiler.compat.lowering_passes import remove_lowering_pass as _remove_lowering_pass

__all__ = [
    "_aten_lowering_pass",
    "_remove_lowering_pass",
    "dump_lowering_passes",
    "get_lowering_pass_config",
    "post_lowering",
    "pre_export_lowering",
]
