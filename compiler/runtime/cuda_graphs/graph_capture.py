"""Capture one call of a compiled module as a CUDA graph, and replay it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ...ir.aliasing import written_tensors
from ..calls.argument_order import ArgumentOrder
from ..engine.exclusive import CAPTURING
from ..engine_graph import EngineGraph
from .capturable import attributes_read, obstacle
from .direct_outputs import DirectOutputs
from .recorder import CannotCapture, Forward, Recorder
from .rehearsal import rehearsal

_WARM_UP_RUNS = 3
"""Runs before a capture: kernels are compiled and memory is allocated in them, which a capture does not allow."""


@dataclass
class Capture:
    """A captured graph with the memory that it reads and writes.

    Attributes:
        graph: `torch.cuda.CUDAGraph`.
        inputs: the tensors that the graph reads, in order of the flattened arguments.
        outputs: the flattened results: tensors that the graph writes, and values that are the same in every call.
        structure: of the results.
        written: positions of inputs that the graph writes to, which callers see; `replay` copies them back.
        state: what the graph has of the module, see `EngineGraph.state_for`; another one makes it useless.
        stream: the `torch.cuda.Stream` on which it is replayed.
        recorder: what recorded the graph, whose execution contexts must live as long.
        direct: graphs of the same call that spare copies of results; None if nothing is worth them.
    """

    graph: Any
    inputs: list[torch.Tensor]
    outputs: list[Any]
    structure: pytree.TreeSpec
    written: Sequence[int] = ()
    state: Hashable = None
    stream: Any = None
    recorder: Recorder | None = None
    direct: DirectOutputs | None = None

    def __post_init__(self) -> None:
        flat = all(child.is_leaf() for child in self.structure.children())
        # For what most models return, pytree would take longer than the replay.
        if self.structure.is_leaf():
            self._structured: Callable[[list[Any]], Any] = itemgetter(0)
        elif flat and self.structure.type in (tuple, list):
            self._structured = self.structure.type
        else:
            self._structured = partial(pytree.tree_unflatten, treespec=self.structure)

    def replay(self, module: EngineGraph, tensors: Sequence[torch.Tensor], reuse_outputs: bool) -> Any:
        """Run the graph on tensors of the same signature; new tensors, or the graph's own with `reuse_outputs`."""
        _copy(self.inputs, tensors)
        if reuse_outputs:
            self.graph.replay()
            outputs = self.outputs
        elif self.direct is None:
            self.graph.replay()
            outputs = self._copied_outputs()
        else:
            outputs = self._direct_outputs(module, self.direct)
        for position in self.written:
            tensors[position].copy_(self.inputs[position])
        return self._structured(outputs)

    def _copied_outputs(self) -> list[Any]:
        if len(self.outputs) == 1 and isinstance(self.outputs[0], torch.Tensor):
            return [self.outputs[0].clone()]
        outputs = self._new_outputs()
        _copy_tensors(outputs, self.outputs)
        return outputs

    def _direct_outputs(self, module: EngineGraph, direct: DirectOutputs) -> list[Any]:
        outputs = self._new_outputs()
        graph, results = direct.graph_for(module, outputs) or (self.graph, self.outputs)
        graph.replay()
        _copy_tensors(outputs, results)
        return outputs

    def _new_outputs(self) -> list[Any]:
        return [torch.empty_like(item) if isinstance(item, torch.Tensor) else item for item in self.outputs]

    def finish(self) -> None:
        """Wait for the last replay, because what it reads and writes is about to be freed."""
        if self.stream is not None:
            self.stream.synchronize()


def _copy_tensors(targets: Sequence[Any], sources: Sequence[Any]) -> None:
    """Copy the tensors among `sources`, by one kernel, to those at the same positions."""
    pairs = [pair for pair in zip(targets, sources, strict=True) if isinstance(pair[1], torch.Tensor)]
    _copy([target for target, _ in pairs], [source for _, source in pairs])


def _copy(targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor]) -> None:
    if len(targets) == 1:
        targets[0].copy_(sources[0])
    elif targets:
        torch._foreach_copy_(list(targets), list(sources))


def captured(
    module: EngineGraph,
    run: Forward,
    leaves: Sequence[Any],
    structure: pytree.TreeSpec | None,
    device: torch.device,
    pool: Any,
) -> Capture:
    """Capture `run(module, …)` on the current stream of a device.

    It is run a few times before, on copies of the tensors; buffers and random numbers are then as they were.

    Args:
        module: the compiled module.
        run: computes its results.
        leaves: the flattened arguments.
        structure: of `leaves`; None if they are the positional arguments themselves.
        device: where all tensors among them are.
        pool: memory that the graph shares with others, from `torch.cuda.graph_pool_handle`; None for its own.

    Raises:
        CannotCapture: the module's graph says so, or the capture failed.
    """
    reason = module_obstacle(module, device)
    if reason is not None:
        raise CannotCapture(reason)
    recorder = Recorder(run, leaves, structure, module.engines_on(device), device, pool)
    given = [item for item in leaves if isinstance(item, torch.Tensor)]
    with CAPTURING:
        try:
            _warm_up(module, recorder, given)
        except torch.OutOfMemoryError as error:
            raise CannotCapture("the GPU has not enough memory for them") from error
        graph, results = recorder.record(module)
    outputs, output_structure = pytree.tree_flatten(results)
    direct = DirectOutputs(recorder, outputs)
    return Capture(
        graph=graph,
        inputs=recorder.inputs,
        outputs=outputs,
        structure=output_structure,
        written=_written(module, recorder.call_arguments(), recorder.inputs),
        state=module.state_for(device),
        stream=torch.cuda.current_stream(device),
        recorder=recorder,
        direct=direct if direct.positions else None,
    )


def _written(
    module: EngineGraph, arguments: tuple[Sequence[Any], dict[str, Any]], static: Sequence[torch.Tensor]
) -> list[int]:
    """Positions of the static inputs that the module writes to, in whatever order the call gives its arguments."""
    placeholders = written_tensors(module.graph)[1]
    order = ArgumentOrder.of(module)
    args, kwargs = arguments
    leaves = list(args) if order is None else order.leaves(tuple(args), kwargs)
    if not placeholders or leaves is None:
        return []
    positions = {id(tensor): position for position, tensor in enumerate(static)}
    return [positions[id(leaves[index])] for index in placeholders]


def _warm_up(module: EngineGraph, recorder: Recorder, given: Sequence[torch.Tensor]) -> None:
    current = torch.cuda.current_stream()
    recorder.side.wait_stream(current)
    try:
        with torch.cuda.stream(recorder.side):
            for _ in range(_WARM_UP_RUNS):
                # Each from the state of the call: a cache that one more call would fill has no place for three.
                with rehearsal(module, recorder.device):
                    _copy(recorder.inputs, given)
                    recorder.call(module)
    finally:
        # What a call that failed has started may still use the recorder's memory, which is freed then.
        current.wait_stream(recorder.side)


def module_obstacle(module: EngineGraph, device: torch.device | None) -> str | None:
    """Why the module cannot be captured, as far as its graph tells; None if it may be.

    Args:
        module: the compiled module.
        device: the GPU on which it is to run; None if that is not known yet, and nothing shall be loaded.
    """
    reason = obstacle(module.graph, device)
    if reason is not None or device is None:
        return reason
    for name in attributes_read(module):
        if module.get_tensor(name).device != device:
            return f"{name} is on {module.get_tensor(name).device}, and the inputs are on {device}"
    for segment in module.segments.values():
        if segment.executor == "reference":
            return "the reference executor runs on the host"
        if segment.engine_on(device) is None:
            reason = obstacle(segment.runner.fallback.graph, None)
            if reason is not None:
                return f"{segment.runner.spec.name} runs in PyTorch, where {reason}"
    return None
