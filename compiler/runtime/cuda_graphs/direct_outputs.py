"""Let CUDA graphs write large results where their callers keep them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ..engine.engine import Execution
from ..engine_graph import EngineGraph
from .recorder import CannotCapture, Recorder

WORTH_BYTES = 1 << 20
"""Results from this size on are worth graphs of their own: a copy takes longer than a launch."""

_LIMIT = 4
"""Graphs per capture. A loop that keeps each result until it has the next one needs two."""

_REMEMBERED = 64
"""Addresses that were met once."""


@dataclass(frozen=True)
class _Source:
    """The result at `position` is what an execution context writes as its output number `output`."""

    position: int
    execution: Execution
    output: int


class DirectOutputs:
    """Graphs of one call that write results of engines into new tensors, rather than into memory of their own.

    A graph writes to fixed addresses, and PyTorch's allocator gives the same few addresses again and again while
    earlier results are freed. Addresses that come a second time get a graph; it is replayed whenever new tensors have
    them. Whether memory is free stays the allocator's business, and where it gives other addresses, results are copied.

    Args:
        recorder: has recorded the call.
        outputs: the flattened results of the graph that it recorded last.
    """

    def __init__(self, recorder: Recorder, outputs: Sequence[Any]) -> None:
        self._recorder = recorder
        self._sources = _sources(recorder, outputs)
        self._graphs: dict[tuple[int, ...], tuple[Any, list[Any]]] = {}
        self._seen: set[tuple[int, ...]] = set()

    def __len__(self) -> int:
        return len(self._graphs)

    @property
    def positions(self) -> list[int]:
        """The results that can be written to new tensors, which others are copied to."""
        return [source.position for source in self._sources]

    def graph_for(self, module: EngineGraph, outputs: Sequence[Any]) -> tuple[Any, list[Any]] | None:
        """The graph that writes the results at `positions` into these tensors, and its results; None if there is none.

        Results at other positions are in memory of that graph.
        """
        addresses = tuple([outputs[source.position].data_ptr() for source in self._sources])
        if not addresses:
            return None
        found = self._graphs.get(addresses)
        if found is not None:
            return found
        if addresses not in self._seen:
            if len(self._seen) < _REMEMBERED:
                self._seen.add(addresses)
        elif len(self._graphs) < _LIMIT:
            found = self._recorded(module, outputs)
            if found is not None:
                self._graphs[addresses] = found
        return found

    def _recorded(self, module: EngineGraph, outputs: Sequence[Any]) -> tuple[Any, list[Any]] | None:
        sources = self._sources
        for source in sources:
            source.execution.given_outputs[source.output] = outputs[source.position]
        try:
            graph, results = self._recorder.record(module)
            leaves = pytree.tree_leaves(results)
            if all(leaves[source.position] is outputs[source.position] for source in sources):
                # Tensors of the caller's are not kept.
                own = set(range(len(leaves))) - set(self.positions)
                return graph, [leaf if position in own else None for position, leaf in enumerate(leaves)]
        except CannotCapture:
            pass
        finally:
            for source in sources:
                source.execution.given_outputs.clear()
        self._sources = ()
        return None


def _sources(recorder: Recorder, outputs: Sequence[Any]) -> tuple[_Source, ...]:
    written = {
        address: (execution, number)
        for contexts in recorder.contexts
        for execution in contexts.values()
        for number, address in enumerate(execution.output_addresses)
    }
    found = []
    for position, tensor in enumerate(outputs):
        if isinstance(tensor, torch.Tensor) and tensor.nbytes >= WORTH_BYTES and tensor.data_ptr() in written:
            execution, number = written[tensor.data_ptr()]
            if tensor.is_contiguous() and tensor.shape == execution.output_shapes[number]:
                found.append(_Source(position, execution, number))
    return tuple(found)
