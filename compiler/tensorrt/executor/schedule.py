"""Plan an evaluation once: the order of the steps, which of them repeat in loops, and when each value can be freed."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..layers import Layer, topological
from .call import ExecutorError

Guard = tuple[tuple[str, bool], ...]
"""Conditions under which a step is needed: pairs of a boolean tensor's name and the value it must have."""

_CONDITIONAL_BOUNDARY = {"CONDITION", "CONDITIONAL_INPUT", "CONDITIONAL_OUTPUT"}
_LOOP_BOUNDARY = {"TRIP_LIMIT", "RECURRENCE", "ITERATOR", "LOOP_OUTPUT"}


@dataclass
class LayerStep:
    """One layer; `frees` are the values that nothing reads after this step.

    `condition` names the boolean that chooses between the two inputs of a CONDITIONAL_OUTPUT.
    """

    index: int
    layer: Layer
    guard: Guard
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    condition: str | None = None
    frees: tuple[str, ...] = ()


@dataclass
class LoopStep:
    """One loop with its body: `head` is what a WHILE limit depends on, `body` the rest."""

    index: int
    name: str
    guard: Guard
    boundary: dict[str, list[Layer]]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    frees: tuple[str, ...] = ()
    head: list[Step] = field(default_factory=list)
    body: list[Step] = field(default_factory=list)


Step = LayerStep | LoopStep


def schedule(layers: Iterable[Layer], outputs: Sequence[str]) -> list[Step]:
    """The steps that compute the network outputs, in an order that respects loops and conditionals.

    Layers that no output and no assertion needs are left out, as TensorRT leaves them out.

    Raises:
        ExecutorError: a value depends on two loops of which neither is inside the other.
    """
    return _Scheduler(topological(layers), outputs).top()


def _names(tensors: Iterable[Any]) -> tuple[str, ...]:
    return tuple(tensor.name for tensor in tensors if tensor is not None)


class _Scheduler:
    def __init__(self, order: Sequence[Layer], outputs: Sequence[str]) -> None:
        self._outputs = set(outputs)
        # Loops and conditionals are told apart by identity, which holds as long as the objects do.
        self._owners = [layer.handle.loop for layer in order if layer.kind in _LOOP_BOUNDARY]
        self._owners += [layer.handle.conditional for layer in order if layer.kind in _CONDITIONAL_BOUNDARY]
        self._conditions = {
            id(layer.handle.conditional): layer.inputs[0].name for layer in order if layer.kind == "CONDITION"
        }
        limits: dict[int, tuple[str, ...]] = {}
        for layer in order:
            if layer.kind == "TRIP_LIMIT":
                limits[id(layer.handle.loop)] = limits.get(id(layer.handle.loop), ()) + _names(layer.inputs)
        # What a layer waits for: its inputs, and what decides whether and how often it runs.
        self._reads = [_names(layer.inputs) + self._control(layer, limits) for layer in order]
        live = self._live(order)
        running = {id(order[index].handle.loop) for index in live if order[index].kind in _LOOP_BOUNDARY}
        self._order = [
            (index, layer)
            for index, layer in enumerate(order)
            if index in live or (layer.kind == "TRIP_LIMIT" and id(layer.handle.loop) in running)
        ]
        self._producer = {name: index for index, layer in self._order for name in _names(layer.outputs)}
        self._variance = self._loop_variance()
        self._guards = self._find_guards()

    def _control(self, layer: Layer, limits: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
        if layer.kind in _LOOP_BOUNDARY:
            return limits.get(id(layer.handle.loop), ())
        if layer.kind in _CONDITIONAL_BOUNDARY:
            return (self._conditions[id(layer.handle.conditional)],)
        return ()

    def _live(self, order: Sequence[Layer]) -> set[int]:
        producer = {name: index for index, layer in enumerate(order) for name in _names(layer.outputs)}
        pending = [producer[name] for name in self._outputs if name in producer]
        pending += [index for index, layer in enumerate(order) if layer.kind == "ASSERTION"]
        live: set[int] = set()
        while pending:
            index = pending.pop()
            if index not in live:
                live.add(index)
                pending += [producer[name] for name in self._reads[index] if name in producer]
        return live

    def _loop_variance(self) -> dict[int, frozenset[int]]:
        """For each layer the loops in whose iterations its value can differ, to a fixed point.

        All boundary layers of an inner loop vary with the outer loops that any of them varies with.
        """
        variance: dict[int, frozenset[int]] = {index: frozenset() for index, _ in self._order}
        enclosing: dict[int, frozenset[int]] = {}
        changed = True
        while changed:
            changed = False
            for index, layer in self._order:
                sources = [variance[self._producer[n]] for n in self._reads[index] if n in self._producer]
                found = frozenset[int]().union(*sources)
                if layer.kind in _LOOP_BOUNDARY:
                    loop = id(layer.handle.loop)
                    enclosing[loop] = enclosing.get(loop, frozenset()) | (found - {loop})
                    inside = layer.kind in ("RECURRENCE", "ITERATOR")
                    found = enclosing[loop] | ({loop} if inside else frozenset())
                if found != variance[index]:
                    variance[index] = found
                    changed = True
        self._enclosing = enclosing
        return variance

    def _find_guards(self) -> dict[int, Guard]:
        """The conditions common to all uses of a layer's results, so that untaken branches are not evaluated."""
        uses: dict[int, list[Guard]] = {index: [] for index, _ in self._order}
        for index, layer in self._order:
            # These are read outside the order of the layers: by the next iteration, or to decide what runs.
            for name in self._reads[index][1 if layer.kind == "RECURRENCE" else len(_names(layer.inputs)) :]:
                if name in self._producer:
                    uses[self._producer[name]].append(())
        guards: dict[int, Guard] = {}
        for index, layer in reversed(self._order):
            needed_anyway = layer.kind == "ASSERTION" or not self._outputs.isdisjoint(_names(layer.outputs))
            guard = () if needed_anyway else _common_prefix(uses[index])
            guards[index] = guard
            for position, name in enumerate(_names(layer.inputs)):
                if name in self._producer:
                    uses[self._producer[name]].append(self._use(layer, guard, position))
        return guards

    def _use(self, layer: Layer, guard: Guard, position: int) -> Guard:
        if layer.kind == "TRIP_LIMIT":
            return ()
        if layer.kind == "CONDITIONAL_OUTPUT":
            return (*guard, (self._conditions[id(layer.handle.conditional)], position == 0))
        return guard

    def top(self) -> list[Step]:
        steps = self._scope(frozenset())
        placed = sum(1 for _ in _all_layers(steps))
        expected = sum(1 for _, layer in self._order if layer.kind not in _LOOP_BOUNDARY)
        if placed < expected:
            raise ExecutorError("a value depends on two loops of which neither is inside the other")
        _mark_last_uses(steps, self._outputs)
        return steps

    def _scope(self, scope: frozenset[int]) -> list[Step]:
        """The steps that run once per iteration of the innermost loop of the scope (once, in the empty scope)."""
        steps: list[Step] = []
        loops: dict[int, list[tuple[int, Layer]]] = {}
        for index, layer in self._order:
            if layer.kind in _LOOP_BOUNDARY:
                loop = id(layer.handle.loop)
                if self._enclosing[loop] == scope:
                    loops.setdefault(loop, []).append((index, layer))
            elif self._variance[index] == scope:
                guard = self._known(self._guards[index], scope)
                reads = self._reads[index] + tuple(name for name, _ in guard)
                condition = self._control(layer, {})[0] if layer.kind == "CONDITIONAL_OUTPUT" else None
                steps.append(LayerStep(index, layer, guard, reads, _names(layer.outputs), condition))
        steps += [self._loop(loop, boundary) for loop, boundary in loops.items()]
        return _sorted(steps)

    def _known(self, guard: Guard, scope: frozenset[int]) -> Guard:
        """The part of a guard that is decided in a scope: what does not vary with a loop is computed outside of it."""
        decided = [
            self._variance[self._producer[name]] <= scope if name in self._producer else True for name, _ in guard
        ]
        return guard[: decided.index(False)] if False in decided else guard

    def _loop(self, loop: int, boundary: list[tuple[int, Layer]]) -> LoopStep:
        steps = self._scope(self._enclosing[loop] | {loop})
        kinds: dict[str, list[Layer]] = {kind: [] for kind in _LOOP_BOUNDARY}
        for _, layer in boundary:
            kinds[layer.kind].append(layer)
        outputs = [index for index, layer in boundary if layer.kind == "LOOP_OUTPUT"]
        guard = self._known(_common_prefix([self._guards[index] for index in outputs]), self._enclosing[loop])
        inside = {name for step in steps for name in step.writes}
        inside |= {
            name for kind in ("RECURRENCE", "ITERATOR") for layer in kinds[kind] for name in _names(layer.outputs)
        }
        reads = [name for step in steps for name in step.reads]
        reads += [name for index, _ in boundary for name in self._reads[index]]
        reads += [name for name, _ in guard]
        kept = {name for index, _ in boundary for name in self._reads[index]}
        conditions = [layer.inputs[0].name for layer in kinds["TRIP_LIMIT"] if layer.handle.kind.name == "WHILE"]
        needed_first = _ancestors(steps, conditions)
        head = [step for step in steps if step.index in needed_first]
        body = [step for step in steps if step.index not in needed_first]
        _mark_last_uses([*head, *body], kept)
        return LoopStep(
            index=boundary[0][0],
            name=boundary[0][1].handle.loop.name,
            guard=guard,
            boundary=kinds,
            reads=tuple(dict.fromkeys(name for name in reads if name not in inside)),
            writes=tuple(name for layer in kinds["LOOP_OUTPUT"] for name in _names(layer.outputs)),
            head=head,
            body=body,
        )


def _common_prefix(guards: Sequence[Guard]) -> Guard:
    if not guards:
        return ()
    shared = 0
    while all(len(guard) > shared and guard[shared] == guards[0][shared] for guard in guards):
        shared += 1
    return guards[0][:shared]


def _sorted(steps: Sequence[Step]) -> list[Step]:
    """Steps after what they read, the network's own order kept among equals."""
    writer = {name: position for position, step in enumerate(steps) for name in step.writes}
    sources = [{writer[name] for name in step.reads if name in writer} - {own} for own, step in enumerate(steps)]
    readers: list[list[int]] = [[] for _ in steps]
    for position, found in enumerate(sources):
        for source in found:
            readers[source].append(position)
    waiting = [len(found) for found in sources]
    ready = [(steps[position].index, position) for position, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    order: list[Step] = []
    while ready:
        _, position = heapq.heappop(ready)
        order.append(steps[position])
        for reader in readers[position]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, (steps[reader].index, reader))
    if len(order) < len(steps):
        raise ExecutorError("the network's loops and conditionals wait for each other")
    return order


def _ancestors(steps: Sequence[Step], names: Iterable[str]) -> set[int]:
    """The indices of the steps that the named values depend on."""
    needed, indices = set(names), set[int]()
    for step in reversed(steps):
        if not needed.isdisjoint(step.writes):
            indices.add(step.index)
            needed.update(step.reads)
    return indices


def _mark_last_uses(steps: Sequence[Step], kept: set[str]) -> None:
    """Note at each step which of the scope's own values are read there for the last time."""
    own = {name for step in steps for name in step.writes} - kept
    for step in reversed(steps):
        last = own.intersection((*step.reads, *step.writes))
        step.frees = tuple(sorted(last))
        own -= last


def _all_layers(steps: Iterable[Step]) -> Iterable[Layer]:
    for step in steps:
        if isinstance(step, LayerStep):
            yield step.layer
        else:
            yield from _all_layers((*step.head, *step.body))
