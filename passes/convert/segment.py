"""Conversion of one segment: its calls, in graph order, through their converters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import sympy
from torch.fx import Node

from ...compiler.ir.annotations import annotate_node, annotations_of, is_exact
from ...compiler.ir.call import Call
from ...compiler.ir.input import profile_count
from ...compiler.ir.ledger import Reason
from ...compiler.ir.program import Program, Segment
from ...compiler.ir.symbol_ranges import profile_ranges
from ...compiler.ir.symbols import Range, UnderivableSize
from ...compiler.ir.undecided import UndecidedSize, sizes_not_guessed
from ...compiler.tensorrt.context import ConversionError
from ...compiler.tensorrt.loader import TensorRT
from ...compiler.tensorrt.network import BuiltNetwork, NetworkBuilder
from ...compiler.tensorrt.registry import Registry, default_registry

COPIED = "copied-slice"
"""The variant of a node that reads a part of a tensor beside the whole, from a copy; see `slice_copies`."""


class SegmentFailed(Exception):
    """Nodes of a segment could not be converted.

    `failures` has the reason for each, by node name, and `node` is the first. `ours` is false where only converters of
    the user's own failed.
    """

    def __init__(self, failures: Mapping[str, Reason], ours: bool = True) -> None:
        self.failures, self.ours = failures, ours
        first, reason = next(iter(failures.items()))
        self.node = first
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        super().__init__(f"node {first} cannot be converted: {reason.message}{more}")


def convert_segment(
    program: Program,
    segment: Segment,
    registry: Registry,
    library: TensorRT,
    ranges: Mapping[sympy.Symbol, Range],
    step: Callable[[int], None] = lambda done: None,
    *,
    use_fp32_acc: bool = True,
) -> BuiltNetwork:
    """The network of a segment. `step(done)` is called before each node; `use_fp32_acc` is the option of that name.

    Raises:
        SegmentFailed: with all nodes that cannot be converted, not only the first.
    """
    nodes = program.nodes_by_name

    def converter_of(target: Any) -> Any:
        converter = registry.get(target)
        return None if converter is None else converter.convert

    profiles = profile_ranges(program) if profile_count(program.inputs) > 1 else ()
    builder = NetworkBuilder(
        library, program.constants, ranges, converter_of, use_fp32_acc, segment.nodes, profiles, segment.outputs
    )
    builder.add_inputs(nodes[name] for name in segment.inputs)
    failures: dict[str, Reason] = {}
    for done, name in enumerate(segment.nodes):
        step(done)
        reason = _failure(builder, registry, nodes[name])
        if reason is not None:
            failures[name] = reason
            builder.substitute(Call(nodes[name]))
    if failures:
        raise SegmentFailed(failures, not all(_is_own(registry, nodes[name]) for name in failures))
    built = builder.finish(nodes[name] for name in segment.outputs)
    for layer, name in built.layer_nodes.items():
        if layer.endswith(".copy") and name in nodes and "variant" not in annotations_of(nodes[name]):
            annotate_node(nodes[name], variant=COPIED)
    return replace(built, exact=any(is_exact(nodes[name]) for name in segment.nodes))


def _is_own(registry: Registry, node: Node) -> bool:
    """Whether a node has a converter that does not come with this package."""
    return registry.get(node.target) is not default_registry().get(node.target)


def _failure(builder: NetworkBuilder, registry: Registry, node: Node) -> Reason | None:
    converter = registry.get(node.target)
    call = Call(node)
    if converter is None:
        return Reason("TP101", f"{call.op} has no converter")
    context = builder.context
    try:
        with sizes_not_guessed(node.graph):
            wanted = annotations_of(node).get("variant")
            variant = converter.chosen(call, lambda item: context.constant_value(item) is not None, wanted)
            if variant is not None:
                annotate_node(node, variant=variant.name)
            builder.convert(call, converter.convert if variant is None else variant.convert)
    except UndecidedSize as error:
        return Reason("TP501", f"{call.op}: the converter decides by sizes that vary: {error}")
    except UnderivableSize as error:
        return Reason("TP210", f"{call.op}: {error}")
    except ConversionError as error:
        return Reason("TP501", error.message)
    except Exception as error:  # a converter must not take the rest of the model down with it
        return Reason("TP501", f"{type(error).__name__}: {error}")
    return None
