"""Whether engines are worth their calls: beside the TorchScript that they replace, timed where a GPU can run both.

A call of an engine takes the host as long as some ten operators do. What is smaller, and light for the GPU, is no
faster in an engine; how much that is depends on the host and the GPU, so it is measured and not guessed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.fx import GraphModule

from ...ir.input import Input
from ...runtime.engine_graph import EngineGraph
from ...runtime.runner import unavailable
from ...settings import Settings
from ..exported_program import device_of, example_arguments
from .block import Block
from .conversion import Script, arguments_by_name
from .inlined import Inlined
from .observed import Seen
from .regions import Graph
from .twin import Unconverted, kept_attributes

Times = Callable[[Callable[[], Any], Callable[[], Any]], tuple[float, float]]

_WARM_CALLS, _WARM_SECONDS, _CALLS = 12, 0.2, 31
_ENOUGH = 0.95
"""Of the time of TorchScript: what is nearer than that differs from run to run."""


def is_timed(compiled: GraphModule, settings: Settings, device: torch.device) -> bool:
    """Whether engines are timed: they can run on the device, and the user did not say how small they may be."""
    if device.type != "cuda" or settings.min_block_size is not None or settings.executor not in ("auto", "tensorrt"):
        return False
    segments = compiled.segments.values() if isinstance(compiled, EngineGraph) else ()
    return all(unavailable(segment.runner.spec, device) is None for segment in segments)


@torch.no_grad()
def medians(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds of two functions that are called in turns, with the GPU waited for, after warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    warm = time.monotonic() + _WARM_SECONDS
    calls = 0
    while calls < _WARM_CALLS or time.monotonic() < warm:  # kernels are compiled meanwhile, also in the background
        ours()
        theirs()
        calls += 1
    for _ in range(_CALLS):
        for function, own in zip((ours, theirs), times, strict=True):
            torch.cuda.synchronize()
            began = time.perf_counter()
            function()
            torch.cuda.synchronize()
            own.append((time.perf_counter() - began) * 1e3)
    first, second = map(statistics.median, times)
    return first, second


def slower_block(
    block: Block, engine: Any, model: Inlined, graph: Graph, seen: Seen, times: Times = medians
) -> str | None:
    """Why a block stays TorchScript, as a clause; None if its engines are faster, or that cannot be told.

    Args:
        block: the block.
        engine: a ScriptModule that runs its engines.
        model, graph: what it is a part of, which is not changed yet.
        seen: what its inputs were.
        times: milliseconds of two functions.
    """
    device = device_of(model.script)
    tensors = [_example(seen.of(name)[-1], device) for name in block.region.tensors]
    function = _function(block, graph)
    return _slower(lambda: engine(*tensors), lambda: function(model.script, *tensors), times)


def slower_methods(model: Any, compiled: Any, calls: Mapping[str, Sequence[Any]], times: Times = medians) -> str | None:
    """The same of a module with its blocks, in calls of methods, of which there are the arguments."""

    def run(module: Any) -> list[Any]:
        return [getattr(module, name)(*given) for name, given in calls.items()]

    try:
        with kept_attributes(model), kept_attributes(compiled):
            return _slower(lambda: run(compiled), lambda: run(model), times)
    except Unconverted:  # an attribute is written that nobody could put back
        return None


def slower_whole(
    model: Any, compiled: Any, inputs: Sequence[Any], kwargs: Mapping[str, Any], times: Times = medians
) -> str | None:
    """The same of a model that was converted as a whole, and of the ScriptModule that it became."""
    script = Script.of(model)
    if script.owner is None:
        return None
    _, given = example_arguments(script.owner, (), arguments_by_name(script, inputs, kwargs))
    with kept_attributes(script.owner), kept_attributes(compiled):
        return _slower(lambda: compiled(*given.values()), lambda: script.run(**given), times)


def _slower(ours: Callable[[], Any], theirs: Callable[[], Any], times: Times) -> str | None:
    try:
        mine, other = times(ours, theirs)
    except RuntimeError:  # made-up numbers need not be such as the model takes
        return None
    if mine <= _ENOUGH * other:
        return None
    return f"engines take {mine:.3f} ms for a call here, and the TorchScript that they would replace {other:.3f} ms"


def _example(seen: tuple[torch.dtype, tuple[int, ...]], device: torch.device) -> torch.Tensor:
    """Numbers of the type and the sizes that were seen; whole ones are zeros, which are places everywhere."""
    dtype, shape = seen
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype, device=device)
    return Input(shape, dtype=dtype).example(device)


def _function(block: Block, graph: Graph) -> Any:
    """What the ops of a block do, as a function of the module and the block's tensors."""
    native: Any = torch._C.Graph()
    made: dict[str, Any] = {graph.root: native.addInput().setType(graph.values[graph.root].type())}
    for name in block.region.tensors:
        made[name] = native.addInput().setType(graph.values[name].type())
    for name, number in zip(block.region.numbers, block.numbers, strict=True):
        made[name] = native.insertConstant(number)
    for op in (*block.region.pulled, *block.region.ops):
        clone = native.insertNode(native.createClone(op.node, lambda value: made[value.debugName()]))
        made.update(zip(op.outputs, clone.outputs(), strict=True))
    results = [made[name] for name in block.region.outputs]
    packed = native.insertNode(native.create("prim::TupleConstruct", results, 1))
    packed.output().setType(torch._C.TupleType([value.type() for value in results]))
    native.registerOutput(packed.output())
    create: Any = torch._C._create_function_from_graph
    return create("forward", native)
