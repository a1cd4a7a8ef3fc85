"""`trt_passes::execute_engine`: the torch operator that stands for an engine in a compiled graph.

Importing this module registers it, without what runs engines (see `runtime/operator.py`), and imports only PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import GraphModule, Node

NAME = "trt_passes::execute_engine"
SCHEMA = "execute_engine(Tensor[] inputs, Tensor engine, str spec, Tensor fallback, Tensor[] constants) -> Tensor[]"

LIBRARY = torch.library.Library("trt_passes", "DEF")  # type: ignore[no-untyped-call]
LIBRARY.define(SCHEMA, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]


def output_values(
    inputs: Sequence[torch.Tensor],
    engine: torch.Tensor,
    spec: str,
    fallback: torch.Tensor,
    constants: Sequence[torch.Tensor],
) -> list[torch.Tensor]:
    """What `execute_engine` returns, as far as tracing is concerned: empty tensors of its shapes and dtypes."""
    from .engine_spec import EngineSpec
    from .shape_rule import ShapeRule

    parsed = EngineSpec.loads(spec)
    shapes = ShapeRule(parsed).output_shapes([tuple(tensor.shape) for tensor in inputs])
    pairs = zip(parsed.outputs, shapes, strict=True)
    return [inputs[0].new_empty(shape, dtype=binding.dtype) for binding, shape in pairs]


# Without a kernel here PyTorch lets results require gradients that nobody can compute: buffers that they are written to
# would keep the history of all calls.
LIBRARY.impl("execute_engine", torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]
torch.library.register_fake(NAME, output_values, lib=LIBRARY)

OPERATOR = torch.ops.trt_passes.execute_engine.default


def engine_calls(module: GraphModule) -> list[Node]:
    """The calls of `trt_passes::execute_engine`, in the order in which they run."""
    return list(module.graph.find_nodes(op="call_function", target=OPERATOR))
