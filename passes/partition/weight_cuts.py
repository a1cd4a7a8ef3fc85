"""Where segments are cut so that the weights of each engine fit into the memory for building it."""

from __future__ import annotations

from collections.abc import Iterable

from ...compiler.ir.dependencies import producer_of
from ...compiler.ir.memory import memory_of
from ...compiler.ir.program import Program, Segment, is_symbolic

COPIES = 4
"""Times the bytes of its weights that building an engine takes: TensorRT holds them up to three times, and the plan."""


def weight_cuts(program: Program, segments: Iterable[Segment], budget: int) -> tuple[str, ...]:
    """Nodes before which segments are cut so that none has weights of more than a share of a budget.

    Args:
        program: with the segments.
        segments: in graph order.
        budget: bytes that building an engine may take. A node whose own weights take more stays whole.
    """
    limit, constants, nodes = budget // COPIES, program.constants, program.nodes_by_name
    cuts: list[str] = []
    for segment in segments:
        held: set[object] = set()
        total = 0
        for name in segment.nodes:
            node = nodes[name]
            if is_symbolic(node):
                continue
            weights = [constants[item.name] for item in node.all_input_nodes if item.name in constants]
            read = {memory_of(weight): weight.nbytes for weight in weights}
            new = sum(nbytes for key, nbytes in read.items() if key not in held)
            if new and held and total + new > limit and producer_of(node) is node:
                cuts.append(name)
                held, total = set(), 0
                new = sum(read.values())
            held |= read.keys()
            total += new
    return tuple(cuts)
