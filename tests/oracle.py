"""PyTorch eager as the oracle: export, convert into one network, evaluate it layer by layer, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import Dim
from trt_passes.compiler.ir.input import Input
from trt_passes.compiler.ir.program import Program, Segment
from trt_passes.compiler.ir.symbol_ranges import symbol_ranges
from trt_passes.compiler.pass_base import Context
from trt_passes.compiler.settings import Settings
from trt_passes.compiler.tensorrt import engine_builder
from trt_passes.compiler.tensorrt.executor import ReferenceExecutor
from trt_passes.compiler.tensorrt.loader import load
from trt_passes.compiler.tensorrt.network import BuiltNetwork
from trt_passes.passes.convert import default_registry
from trt_passes.passes.convert.segment import convert_segment
from trt_passes.passes.decompose import Decompose

Range = tuple[int, int, int]
Dynamic = Sequence[Mapping[int, str] | None]

TOLERANCES = {torch.float32: (1e-4, 1e-5), torch.float16: (1e-2, 2e-3), torch.bfloat16: (5e-2, 1e-2)}
"""Relative and absolute tolerance by dtype."""


class _Function(torch.nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


@dataclass(frozen=True)
class Converted:
    """A function's program and its network, with the names of the network's inputs in order of the function's."""

    module: torch.nn.Module
    program: Program
    built: BuiltNetwork
    positions: tuple[int, ...]

    def run(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """The network's outputs, evaluated on the CPU."""
        feeds = {b.name: inputs[p] for b, p in zip(self.built.inputs, self.positions, strict=True)}
        results = ReferenceExecutor(self.built.trt, self.built.network, self.built.unreadable).run(feeds)
        return tuple(results[binding.name] for binding in self.built.outputs)

    def layers(self) -> list[str]:
        """The kinds of the network's layers, such as "ELEMENTWISE", in the order they were added."""
        network = self.built.network
        return [network.get_layer(index).type.name for index in range(network.num_layers)]


def traced(
    function: Callable[..., Any],
    inputs: Sequence[torch.Tensor],
    dynamic: Dynamic | None = None,
    ranges: Mapping[str, Range] | None = None,
) -> tuple[torch.nn.Module, Program]:
    """A function's decomposed program; `dynamic` names the dynamic dimensions per input, `ranges` their sizes."""
    module = function if isinstance(function, torch.nn.Module) else _Function(function)
    dynamic = dynamic or [None] * len(inputs)
    ranges = ranges or {}
    dims = {name: Dim(name, min=low, max=high) for name, (low, _, high) in ranges.items()}
    shapes = tuple({dim: dims[name] for dim, name in (spec or {}).items()} or None for spec in dynamic)
    nested = (shapes,) if isinstance(module, _Function) else shapes
    with torch.no_grad():
        exported = torch.export.export(module, tuple(inputs), dynamic_shapes=nested if any(shapes) else None)
        declared = tuple(_declared(tensor, spec or {}, ranges) for tensor, spec in zip(inputs, dynamic, strict=True))
        program = Decompose().run(Program(exported, inputs=declared), Context())
    return module, program.synced()


def _declared(tensor: torch.Tensor, spec: Mapping[int, str], ranges: Mapping[str, Range]) -> Input:
    corners = [
        [ranges[spec[dim]][index] if dim in spec else size for dim, size in enumerate(tensor.shape)]
        for index in range(3)
    ]
    return Input(min_shape=corners[0], opt_shape=corners[1], max_shape=corners[2], dtype=tensor.dtype)


def converted(
    function: Callable[..., Any],
    inputs: Sequence[torch.Tensor],
    dynamic: Dynamic | None = None,
    ranges: Mapping[str, Range] | None = None,
    *,
    use_fp32_acc: bool = True,
) -> Converted:
    """A function as one network."""
    module, program = traced(function, inputs, dynamic, ranges)
    # Nodes without users are checks on sizes and metadata: nothing of them is computed.
    nodes = tuple(node for node in program.op_nodes if node.users)
    returned = program.output_node.args[0]
    outputs = tuple(dict.fromkeys(node.name for node in returned))
    users = program.user_inputs
    used = [index for index, node in enumerate(users) if node.users]
    segment = Segment("segment-00", tuple(n.name for n in nodes), tuple(users[i].name for i in used), outputs)
    built = convert_segment(
        program, segment, default_registry(), load(), symbol_ranges(program), use_fp32_acc=use_fp32_acc
    )
    return Converted(module, program, built, tuple(used))


def check(
    function: Callable[..., Any],
    inputs: Sequence[torch.Tensor],
    dynamic: Dynamic | None = None,
    ranges: Mapping[str, Range] | None = None,
    *,
    build: bool = False,
    tolerance: tuple[float, float] | None = None,
) -> Converted:
    """Assert that the network of a function computes what the function does, at all corners of its ranges.

    Args:
        function: takes tensors, returns a tensor or a flat tuple of them; a module may hold parameters.
        inputs: tensors of the usual sizes.
        dynamic: the names of the dynamic dimensions of each input, such as `[{0: "batch"}, None]`.
        ranges: smallest, usual and largest size by name.
        build: also build an engine, so that a network that is valid but cannot be built is noticed.
        tolerance: relative and absolute; by default that of the result's dtype.
    """
    result = converted(function, inputs, dynamic, ranges)
    for corner in range(3 if ranges else 1):
        fed = inputs
        if ranges:
            specs = dynamic or [None] * len(inputs)
            fed = [resized(x, spec or {}, ranges, corner) for x, spec in zip(inputs, specs, strict=True)]
        with torch.no_grad():
            expected = result.module(*fed)
        expected = expected if isinstance(expected, tuple | list) else (expected,)
        names = [node.name for node in result.program.output_node.args[0]]
        actual = dict(zip(dict.fromkeys(names), result.run(fed), strict=True))
        for index, (name, want) in enumerate(zip(names, expected, strict=True)):
            compare(actual[name], want, f"result {index} at corner {corner}", tolerance)
    if build:
        build_engine(result.built)
    return result


def resized(x: torch.Tensor, spec: Mapping[int, str], ranges: Mapping[str, Range], corner: int) -> torch.Tensor:
    """The tensor with its dynamic dimensions repeated or cut to the sizes of a corner of the ranges."""
    for dim, name in spec.items():
        x = x.index_select(dim, torch.arange(ranges[name][corner]) % max(x.shape[dim], 1))
    return x


def compare(
    actual: torch.Tensor, expected: torch.Tensor, what: str, tolerance: tuple[float, float] | None = None
) -> None:
    """Assert equal dtypes and shapes and close values; NaNs equal each other."""
    assert actual.dtype == expected.dtype, f"{what}: dtype {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    relative, absolute = tolerance or TOLERANCES.get(expected.dtype, (0.0, 0.0))
    torch.testing.assert_close(
        actual, expected, rtol=relative, atol=absolute, equal_nan=True, msg=lambda m: f"{what}: {m}"
    )


def build_engine(built: BuiltNetwork) -> bytes:
    """A real engine from a network, for the ranges of its bindings; AssertionError with TensorRT's log otherwise."""
    config = built.builder.create_builder_config()
    if any(binding.is_dynamic for binding in built.inputs):
        profile = built.builder.create_optimization_profile()
        for binding in built.inputs:
            profile.set_shape(binding.name, binding.min_shape, binding.opt_shape, binding.max_shape)
        config.add_optimization_profile(profile)
    plan = built.builder.build_serialized_network(built.network, config)
    errors = [text for severity, text in built.log.records if severity in ("ERROR", "INTERNAL_ERROR")]
    assert plan is not None, "no engine: " + "; ".join(errors)
    return bytes(plan)


def kernels_of(network: BuiltNetwork) -> list[dict[str, Any]]:
    """The kernels that TensorRT builds for a network: what it calls them, and what they compute."""
    artifact = engine_builder.build_engine(
        network, Settings(), name="s", progress=lambda text, done, total: None, cancelled=lambda: False
    )
    return list(artifact.layers)
