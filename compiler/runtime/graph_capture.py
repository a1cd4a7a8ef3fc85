"""Capture one call of a compiled module as a CUDA graph, and replay it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from ..collector import collector_paused
from .argument_order import ArgumentOrder
from .capturable import attributes_read, draws_random_numbers, obstacle, written_tensors

if TYPE_CHECKING:
    from .compiled_module import CompiledModule

Forward = Callable[..., Any]

_WARM_UP_RUNS = 3
"""Runs before a capture: kernels are compiled and memory is allocated in them, which a capture does not allow."""


class CannotCapture(Exception):
    """A call cannot be captured; the message is a clause that says why. `lasting` if that holds for every call."""

    def __init__(self, reason: str, lasting: bool = True) -> None:
        super().__init__(reason)
        self.lasting = lasting


@dataclass
class Capture:
    """A captured graph with the memory that it reads and writes.

    Attributes:
        graph: `torch.cuda.CUDAGraph`.
        inputs: the tensors that the graph reads, in order of the flattened arguments.
        outputs: the flattened results: tensors that the graph writes, and values that are the same in every call.
        structure: of the results.
        written: positions of inputs that the graph writes to, which callers see; `replay` copies them back.
        state: what the graph has of the module, see `CompiledModule.state_for`; another one makes it useless.
        stream: the `torch.cuda.Stream` on which it is replayed.
        kept: what must live as long as the graph.
    """

    graph: Any
    inputs: list[torch.Tensor]
    outputs: list[Any]
    structure: pytree.TreeSpec
    written: Sequence[int] = ()
    state: Hashable = None
    stream: Any = None
    kept: Any = None

    def __post_init__(self) -> None:
        flat = all(child.is_leaf() for child in self.structure.children())
        # For what most models return, pytree would take longer than the replay.
        if self.structure.is_leaf():
            self._structured: Callable[[list[Any]], Any] = itemgetter(0)
        elif flat and self.structure.type in (tuple, list):
            self._structured = self.structure.type
        else:
            self._structured = partial(pytree.tree_unflatten, treespec=self.structure)

    def replay(self, tensors: Sequence[torch.Tensor], reuse_outputs: bool) -> Any:
        """Run the graph on tensors of the same signature; new tensors, or the graph's own with `reuse_outputs`."""
        _copy(self.inputs, tensors)
        self.graph.replay()
        for position in self.written:
            tensors[position].copy_(self.inputs[position])
        outputs = self.outputs if reuse_outputs else self._copied_outputs()
        return self._structured(outputs)

    def _copied_outputs(self) -> list[Any]:
        if len(self.outputs) == 1 and isinstance(self.outputs[0], torch.Tensor):
            return [self.outputs[0].clone()]
        # One kernel for all copies.
        outputs = [torch.empty_like(item) if isinstance(item, torch.Tensor) else item for item in self.outputs]
        pairs = [pair for pair in zip(outputs, self.outputs, strict=True) if isinstance(pair[0], torch.Tensor)]
        _copy([copy for copy, _ in pairs], [output for _, output in pairs])
        return outputs

    def finish(self) -> None:
        """Wait for the last replay, because what it reads and writes is about to be freed."""
        if self.stream is not None:
            self.stream.synchronize()


def _copy(targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor]) -> None:
    if len(targets) == 1:
        targets[0].copy_(sources[0])
    elif targets:
        torch._foreach_copy_(list(targets), list(sources))


def captured(
    module: CompiledModule,
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
    # Tensors made in inference mode, or with gradients, could not be written to later.
    with torch.inference_mode(False), torch.no_grad(), ExitStack() as engines:
        contexts = [engines.enter_context(engine.own_contexts()) for engine in module.engines_on(device)]
        given = [item for item in leaves if isinstance(item, torch.Tensor)]
        static = [torch.empty_like(item, memory_format=torch.contiguous_format) for item in given]

        def arguments() -> tuple[Sequence[Any], dict[str, Any]]:
            tensors = iter(static)
            flat = [next(tensors) if isinstance(item, torch.Tensor) else item for item in leaves]
            return (flat, {}) if structure is None else pytree.tree_unflatten(flat, structure)

        def call() -> Any:
            args, kwargs = arguments()
            return run(module, *args, **kwargs)

        def fill() -> None:
            for tensor, value in zip(static, given, strict=True):
                tensor.copy_(value)

        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        try:
            _warm_up(module, fill, call, side)
        except torch.OutOfMemoryError as error:
            raise CannotCapture("the GPU has not enough memory for them") from error
        graph = torch.cuda.CUDAGraph()
        outputs, output_structure = pytree.tree_flatten(_recorded(graph, call, side, pool))
    return Capture(
        graph=graph,
        inputs=static,
        outputs=outputs,
        structure=output_structure,
        written=_written(module, arguments(), static),
        state=module.state_for(device),
        stream=torch.cuda.current_stream(device),
        kept=(contexts, side),
    )


def _written(
    module: CompiledModule, arguments: tuple[Sequence[Any], dict[str, Any]], static: Sequence[torch.Tensor]
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


def _warm_up(
    module: CompiledModule, fill: Callable[[], None], call: Callable[[], Any], side: torch.cuda.Stream
) -> None:
    buffers = [module.get_tensor(name) for name in written_tensors(module.graph)[0]]
    saved = [tensor.clone() for tensor in buffers]
    generator = torch.cuda.get_rng_state() if draws_random_numbers(module.graph) else None
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP_RUNS):
            fill()
            call()
        for tensor, value in zip(buffers, saved, strict=True):
            tensor.copy_(value)
    torch.cuda.current_stream().wait_stream(side)
    if generator is not None:
        torch.cuda.set_rng_state(generator)


def _recorded(graph: Any, call: Callable[[], Any], side: torch.cuda.Stream, pool: Any) -> Any:
    generator = torch.cuda.default_generators[side.device.index]
    before = generator.clone_state()
    try:
        # Other threads may use the GPU meanwhile, but no tensor may be freed by the collector in this one.
        with collector_paused(), torch.cuda.graph(graph, pool, side, capture_error_mode="thread_local"):
            return call()
    except RuntimeError as error:
        # The generator takes part in a capture, and does not notice the end of one that fails.
        generator.graphsafe_set_state(before)
        raise CannotCapture(f"the capture failed: {str(error).strip().splitlines()[0]}") from error


def module_obstacle(module: CompiledModule, device: torch.device | None) -> str | None:
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
        if segment.runner.engine_on(device) is None:
            reason = obstacle(segment.runner.fallback.graph, None)
            if reason is not None:
                return f"{segment.runner.spec.name} runs in PyTorch, where {reason}"
    return None
