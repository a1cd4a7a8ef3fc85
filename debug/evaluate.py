"""What a segment computes: by the reference executor, which evaluates its network, or by an engine on a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch.fx import Node

from ..compiler.ir.dependencies import data_dependent
from ..compiler.ir.network import Network
from ..compiler.ir.program import Program, Segment
from ..compiler.ir.symbol_ranges import symbol_ranges
from ..compiler.pass_base import Context
from ..compiler.runtime.options import RuntimeOptions
from ..compiler.runtime.runner import Runner
from ..compiler.tensorrt.engine_builder import BuildError
from ..compiler.tensorrt.executor import ReferenceExecutor
from ..passes.build.threads import build_concurrently
from ..passes.convert import convert_segment
from ..passes.partition import segments_of

Values = Mapping[str, Any]
"""What nodes yield, by name."""


class Evaluator(Protocol):
    """Computes what a segment yields; what it is wrong about is what is searched for."""

    @property
    def name(self) -> str:
        """What computes, in a few words."""

    @property
    def executor(self) -> str:
        """The setting `executor` of a module that computes likewise."""

    def outputs(self, segment: Segment, values: Values) -> dict[str, torch.Tensor]:
        """The segment's outputs by node name, for inputs that are among `values`."""


@dataclass(frozen=True)
class _Networks:
    """Makes the networks of segments of one program."""

    program: Program
    ctx: Context

    @cached_property
    def _ranges(self) -> Any:
        return symbol_ranges(self.program)

    def network(self, segment: Segment) -> Network:
        """The network of a segment: the one that `convert` made, unless it has other nodes or outputs."""
        known = next((s for s in self.program.segments if s == segment and s.network is not None), None)
        if known is not None and known.network is not None:
            return known.network
        settings, library = self.ctx.settings, self.ctx.tensorrt()
        return convert_segment(
            self.program,
            segment,
            self.ctx.converters,
            library,
            self._ranges,
            use_fp32_acc=settings.use_fp32_acc,
        )


@dataclass(frozen=True)
class ReferenceEvaluator(_Networks):
    """Evaluates networks layer by layer with PyTorch, on any machine."""

    name = "the network, evaluated by the reference executor"
    executor = "reference"

    def outputs(self, segment: Segment, values: Values) -> dict[str, torch.Tensor]:
        """See `Evaluator`."""
        built = self.network(segment)
        feeds = {item.name: values[name].cpu() for item, name in zip(built.inputs, segment.inputs, strict=True)}
        found = ReferenceExecutor(built.trt, built.network).run(feeds)
        return {name: found[item.name] for item, name in zip(built.outputs, segment.outputs, strict=True)}


@dataclass(frozen=True)
class EngineEvaluator(_Networks):
    """Builds engines and runs them on the GPU."""

    name = "the engine on the GPU"
    executor = "tensorrt"

    def outputs(self, segment: Segment, values: Values) -> dict[str, torch.Tensor]:
        """See `Evaluator`.

        Raises:
            BuildError: TensorRT builds no engine of it.
        """
        (built,) = build_concurrently([replace(segment, network=self.network(segment))], self.ctx).values()
        if isinstance(built, BuildError):
            raise built
        plan = torch.frombuffer(bytearray(built.plan), dtype=torch.uint8)
        runner = Runner(built.spec, plan, options=RuntimeOptions(executor="tensorrt"))
        found = runner([values[name].cuda() for name in segment.inputs], list)
        return {name: value.cpu() for name, value in zip(segment.outputs, found, strict=True)}


def whole(program: Program, names: Iterable[str]) -> Segment | None:
    """One segment of some operators, with what crosses its border; None if nothing would leave or enter it."""
    chosen = list(names)
    parts = segments_of(program, {node.name for node in program.op_nodes}, [tuple(chosen)])
    found = parts[0] if parts else None
    return found if found is not None and found.inputs and found.outputs else None


def marked(program: Program, segment: Segment, names: Iterable[str]) -> Segment:
    """The segment with the values of more of its nodes as outputs."""
    wanted = {*segment.outputs, *names}
    return replace(
        segment, outputs=tuple(n.name for n in program.op_nodes if n.name in wanted), network=None, engine=None
    )


def markable(program: Program, segment: Segment) -> Iterator[Node]:
    """The nodes of a segment whose values can leave it: one tensor each, of a size that its inputs tell."""
    members = set(segment.nodes)
    for node in program.op_nodes:
        value = node.meta.get("val")
        if node.name in members and isinstance(value, torch.Tensor) and not data_dependent(value):
            yield node


MAX_BYTES = 2 << 30
"""Bytes of values that one network may yield at once."""


def groups_of(nodes: Sequence[Node], values: Values) -> Iterator[list[str]]:
    """The names of nodes in as few groups as their values allow."""
    group: list[str] = []
    size = 0
    for node in nodes:
        nbytes = values[node.name].nbytes
        if group and size + nbytes > MAX_BYTES:
            yield group
            group, size = [], 0
        group.append(node.name)
        size += nbytes
    if group:
        yield group
