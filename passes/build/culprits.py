"""Find the nodes because of which TensorRT cannot build a segment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...compiler.ir.program import Program, Segment
from ..partition import operators_of, segments_of

Words = tuple[str, ...]
"""What TensorRT said."""

Attempt = Callable[[Segment], Words | None]
"""Builds a segment: what TensorRT said if it failed, else None."""


def find_culprits(program: Program, segment: Segment, words: Words, attempt: Attempt) -> dict[str, Words]:
    """The nodes to leave out of a segment whose build failed, with TensorRT's words about each; at least one.

    Halving finds a node after which the first part of the segment no longer builds: at most log2(nodes) builds, and a
    true answer also where several nodes fail. Models repeat their layers, so if the node fails alone, each further
    call of its operator is tried alone too (small builds) and those that fail are returned with it.
    """
    nodes = program.nodes_by_name
    leaders = operators_of(program, segment)
    good, bad = 0, len(leaders)
    while bad - good > 1:
        middle = (good + bad) // 2
        said = _attempt(program, segment, leaders[:middle], attempt)
        if said is None:
            good = middle
        else:
            bad, words = middle, said
    culprit = leaders[bad - 1]
    found = {culprit: words}
    if len(leaders) > 1:
        said = _attempt(program, segment, [culprit], attempt)
        if said is not None:
            found[culprit] = said
            for name in leaders:
                if name != culprit and nodes[name].target == nodes[culprit].target:
                    said = _attempt(program, segment, [name], attempt)
                    if said is not None:
                        found[name] = said
    return found


def _attempt(program: Program, segment: Segment, leaders: Sequence[str], attempt: Attempt) -> Words | None:
    parts = segments_of(program, set(segment.nodes), [tuple(leaders)])
    part = replace(parts[0], name=f"{segment.name}, {len(leaders)} of its nodes")
    if not part.inputs or not part.outputs:
        return None
    return attempt(part)
