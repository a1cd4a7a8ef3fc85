"""Which operators of a segment make its network, or its engine, compute something else than PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch.fx import Node

from ..compiler.ir.dependencies import producer_of
from ..compiler.ir.program import Program, Segment
from ..compiler.ir.symbols import UnderivableSize
from ..compiler.runtime.measure.distance import distance
from ..compiler.tensorrt.context import ConversionError
from ..compiler.tensorrt.executor.call import ExecutorError
from ..passes.convert import SegmentFailed
from .evaluate import Evaluator, Values, groups_of, markable, marked, whole
from .part import ancestors, leaders

Measure = Callable[[torch.Tensor, torch.Tensor], float]
"""How far a value is from what it should be."""

_NOT_ALONE = (SegmentFailed, ConversionError, UnderivableSize)
"""What a part of a segment can raise that the segment does not: a size may come from a shape outside of it."""

MOST_ALONE = 64
"""Operators that are evaluated alone, at most."""


def relative_l2(expected: torch.Tensor, found: torch.Tensor) -> float:
    """The relative L2 difference."""
    return distance(expected, found)[1]


def max_abs(expected: torch.Tensor, found: torch.Tensor) -> float:
    """The largest absolute difference."""
    return distance(expected, found)[0]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a segment.

    Attributes:
        groups: the operators at fault, by name: each group is at fault by itself.
        error: of the segment's worst output.
        output: its name.
        alone: the error of each group, fed with PyTorch's values.
        how: the finding in words, which follow on "the network of segment-00".
        steps: what was found out on the way.
    """

    groups: tuple[tuple[str, ...], ...]
    error: float
    output: str
    alone: tuple[float, ...] = ()
    how: str = ""
    steps: tuple[str, ...] = ()


@dataclass
class SegmentSearch:
    """The search in one segment.

    Args:
        program: that has the segment.
        segment: with its network, if it has one.
        evaluator: what computes the segment.
        values: what PyTorch computes at its inputs and at all of its nodes.
        measure: of a difference.
        tolerance: above which a difference is a fault.
    """

    program: Program
    segment: Segment
    evaluator: Evaluator
    values: Values
    measure: Measure
    tolerance: float
    steps: list[str] = field(default_factory=list)

    def fault(self) -> Fault | None:
        """What is wrong; None if every output is within the tolerance."""
        errors = self._errors(self.segment)
        output = max(errors, key=lambda name: errors[name])
        if errors[output] <= self.tolerance:
            return None
        self._say(f"{self.evaluator.name}: %{output} of {self.segment.name} differs by {errors[output]:.1e}")
        groups = self._by_marking(errors[output]) or self._by_halving()
        alone = tuple(self.alone(group) for group in groups)
        return Fault(tuple(groups), errors[output], output, alone, self._how(groups, alone), tuple(self.steps))

    def is_wrong(self) -> bool:
        """Whether an output is beyond the tolerance."""
        return max(self._errors(self.segment).values()) > self.tolerance

    def alone(self, names: Iterable[str]) -> float:
        """The error of some operators that are fed with PyTorch's values; 0 if they are no engine by themselves."""
        part = whole(self.program, names)
        if part is None:
            return 0.0
        try:
            return max(self._errors(part).values())
        except _NOT_ALONE:
            return 0.0

    # --- by every node's value ---------------------------------------------------------------------------------------
    def _by_marking(self, error: float) -> list[tuple[str, ...]]:
        """The operators whose results are the first to be wrong, and which are so alone; none if that finds none."""
        nodes = [node for node in markable(self.program, self.segment) if node.name in self.values]
        errors: dict[str, float] = {}
        engines = 0
        for group in groups_of(nodes, self.values):
            try:
                errors |= self._errors(marked(self.program, self.segment, group))
            except _NOT_ALONE:
                continue
            engines += 1
        if max((errors.get(name, 0.0) for name in self.segment.outputs), default=0.0) <= self.tolerance:
            self._say("with the value of every operator as an output, nothing differs: operators are at fault together")
            return []
        first = [node for node in nodes if self._is_first(node, errors)]
        many = f" (in {engines} parts)" if engines > 1 else ""
        self._say(f"of {len(nodes)} values{many} the first to differ: {_listed(node.name for node in first)}")
        found = dict.fromkeys(producer_of(node).name for node in first[:MOST_ALONE])
        wrong: list[tuple[str, ...]] = [(name,) for name in found if self.alone([name]) > self.tolerance]
        return wrong or self._grown(first)

    def _is_first(self, node: Node, errors: Mapping[str, float]) -> bool:
        """Whether a value is wrong, and no value that it is made from is."""
        if errors.get(node.name, 0.0) <= self.tolerance:
            return False
        sources = (source for source in producer_of(node).all_input_nodes if source.name in errors)
        return all(errors[source.name] <= self.tolerance for source in sources)

    def _grown(self, first: Sequence[Node]) -> list[tuple[str, ...]]:
        """The smallest groups of operators above the first wrong values that are wrong by themselves."""
        members = set(leaders(self.program, self.segment.nodes))
        for node in first[:4]:
            for levels in (1, 2, 3, 5, 8, 16, 64):
                names = ancestors(self.program, producer_of(node).name, levels, set(self.segment.nodes)) & members
                if self.alone(names) > self.tolerance:
                    return [tuple(leaders(self.program, names))]
        return []

    # --- by halving --------------------------------------------------------------------------------------------------
    def _by_halving(self) -> list[tuple[str, ...]]:
        """The shortest run of operators, in graph order, that is wrong by itself."""
        names = leaders(self.program, self.segment.nodes)
        found = smallest_window(names, lambda part: self.alone(part) > self.tolerance)
        self._say(f"halving {len(names)} operators leaves {len(found)}: {_listed(found)}")
        return [tuple(found)]

    # --- words -------------------------------------------------------------------------------------------------------
    def _errors(self, segment: Segment) -> dict[str, float]:
        """The error of every output of a segment; infinite if it cannot be evaluated at all."""
        try:
            found = self.evaluator.outputs(segment, self.values)
        except ExecutorError as error:
            self._say(str(error))
            return dict.fromkeys(segment.outputs, float("inf"))
        return {name: self.measure(self.values[name], value) for name, value in found.items()}

    def _say(self, text: str) -> None:
        if text not in self.steps:
            self.steps.append(text)

    def _how(self, groups: Sequence[Sequence[str]], alone: Sequence[float]) -> str:
        names = [" and ".join(f"%{name}" for name in group[:3]) for group in groups[:3]]
        if any(len(group) > 1 for group in groups):
            size = max(map(len, groups))
            more = f" (and {size - 3} more operators)" if size > 3 else ""
            if max(alone) <= self.tolerance:
                return f"no operator is wrong by itself: small errors grow up to {names[0]}{more}"
            return f"{names[0]}{more} together yield something else than in PyTorch, by {max(alone):.1e}"
        if max(alone) <= self.tolerance:
            return f"no operator is wrong by itself: {names[0]} magnifies small errors of what it reads"
        return f"{', '.join(names)} yields something else than in PyTorch, by {alone[0]:.1e}"


def smallest_window(names: Sequence[str], fails: Callable[[Sequence[str]], bool]) -> list[str]:
    """A short run of `names` that fails: none of its halves does, nor does it without its first or its last.

    At most a few times log2 of their number are tried, where failing is a matter of what is in the run.

    Args:
        names: which fail as a whole.
        fails: whether a run does.
    """
    window = list(names)
    while len(window) > 1:
        middle = len(window) // 2
        half = next((part for part in (window[:middle], window[middle:]) if fails(part)), None)
        if half is None:
            break
        window = half
    end = _shortest(len(window), lambda size: fails(window[:size]))
    window = window[:end]
    start = _shortest(len(window), lambda size: fails(window[-size:]))
    window = window[-start:]
    for name in list(window) if len(window) <= 12 else ():
        rest = [other for other in window if other != name]
        if rest and fails(rest):
            window = rest
    return window


def _shortest(size: int, fails: Callable[[int], bool]) -> int:
    """The least size that fails, by halving; the given one does."""
    low, high = 0, size
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(middle) else (middle, high)
    return high


def _listed(names: Iterable[str], most: int = 5) -> str:
    found = [f"%{name}" for name in names]
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return f"{', '.join(found[:most])}{more}" or "none"


def needed_values(program: Program, segments: Collection[Segment]) -> Iterator[str]:
    """The nodes of whose values a search in segments makes use."""
    nodes = program.nodes_by_name
    for segment in segments:
        yield from segment.inputs
        for name in segment.nodes:
            yield name
            yield from (source.name for source in nodes[name].all_input_nodes)
