"""Run lowering passes on a function and check that its results stay what they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.text import op_name

COMPOSITE = (
    torch.ops.aten.linear.default,
    torch.ops.aten.layer_norm.default,
    torch.ops.aten.scaled_dot_product_attention.default,
    torch.ops.aten.gelu.default,
)


class Function(nn.Module):
    """A module that calls a function; `tensors` are its buffers, given to the function before the inputs."""

    def __init__(self, function: Callable[..., Any], tensors: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.function, self.count = function, len(tensors)
        for index, tensor in enumerate(tensors):
            self.register_buffer(f"w{index}", tensor)

    def forward(self, *inputs: Any) -> Any:
        return self.function(*(getattr(self, f"w{index}") for index in range(self.count)), *inputs)


def program_of(
    module: nn.Module | Callable[..., Any],
    inputs: Sequence[torch.Tensor],
    tensors: Sequence[torch.Tensor] = (),
    dynamic_shapes: Any = None,
) -> tp.Program:
    """The functional core-ATen program of a module or a function, composite operators kept whole."""
    module = module if isinstance(module, nn.Module) else Function(module, tensors)
    shapes = (dynamic_shapes,) if dynamic_shapes is not None and isinstance(module, Function) else dynamic_shapes
    table = torch.export.default_decompositions()
    for target in COMPOSITE:
        table.pop(target, None)
    exported = torch.export.export(module.eval(), tuple(inputs), dynamic_shapes=shapes, strict=False)
    return tp.Program(exported.run_decompositions(table))


def lowered(program: tp.Program, *passes: tp.Pass, notes: list[str] | None = None, **settings: Any) -> tp.Program:
    """The program after the passes, each on a copy of its own as the manager does it."""
    found = notes if notes is not None else []
    ctx = tp.Context(settings=tp.Settings.from_options(settings), note=found.append)
    for item in passes:
        program = item.run(program.copy(), ctx).without_analysis().synced()
    return program


def ops(program: tp.Program) -> list[str]:
    """The operators of the program, in order."""
    return [op_name(node.target) for node in program.op_nodes]


def results(program: tp.Program, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """What the program returns for inputs of its own."""
    value = program.exported.module()(*(tensor.clone() for tensor in inputs))
    return [value] if isinstance(value, torch.Tensor) else list(value)


def assert_same(before: tp.Program, after: tp.Program, inputs: Sequence[torch.Tensor], **tolerance: float) -> None:
    """Both programs return the same types and values, bit for bit unless a tolerance is given."""
    exact = tolerance or {"rtol": 0.0, "atol": 0.0}
    torch.testing.assert_close(results(after, inputs), results(before, inputs), equal_nan=True, **exact)
