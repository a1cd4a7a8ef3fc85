"""Record calls of a compiled module as CUDA graphs, on tensors that stay where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ...ir.collector import collector_paused
from ..engine.engine import Contexts, Engine
from ..engine.exclusive import CAPTURING
from ..engine_graph import EngineGraph

Forward = Callable[..., Any]


class CannotCapture(Exception):
    """A call cannot be captured; the message is a clause that says why. `lasting` if that holds for every call."""

    def __init__(self, reason: str, lasting: bool = True) -> None:
        super().__init__(reason)
        self.lasting = lasting


class _Tensor:
    """Stands for a tensor among arguments."""


@dataclass
class Recorder:
    """Runs a module on tensors of its own, and records what it does.

    Args:
        run: computes the module's results.
        arguments: the flattened ones; of tensors, only shapes and data types are kept.
        structure: of `arguments`; None if they are the positional arguments themselves.
        engines: those of the module, which get execution contexts of their own.
        device: where all tensors are.
        pool: memory that the graphs share with others, from `torch.cuda.graph_pool_handle`; None for its own.

    Raises:
        CannotCapture: an argument cannot be copied to such a tensor.
    """

    run: Forward
    arguments: Sequence[Any]
    structure: pytree.TreeSpec | None
    engines: Sequence[Engine]
    device: torch.device
    pool: Any
    inputs: list[torch.Tensor] = field(init=False)
    contexts: list[Contexts] = field(init=False)
    side: Any = field(init=False)

    def __post_init__(self) -> None:
        if any(item.layout is not torch.strided for item in self.arguments if isinstance(item, torch.Tensor)):
            raise CannotCapture("an input is sparse", lasting=False)
        with _writable():
            self.inputs = [
                torch.empty_like(item, memory_format=torch.contiguous_format)
                for item in self.arguments
                if isinstance(item, torch.Tensor)
            ]
        self.arguments = [_Tensor if isinstance(item, torch.Tensor) else item for item in self.arguments]
        self.contexts = [{} for _ in self.engines]
        self.side = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def call_arguments(self) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments with the recorder's own tensors."""
        tensors = iter(self.inputs)
        flat = [next(tensors) if item is _Tensor else item for item in self.arguments]
        return (flat, {}) if self.structure is None else pytree.tree_unflatten(flat, self.structure)

    def call(self, module: EngineGraph) -> Any:
        """The module's results for what is in the recorder's own tensors, on the current stream."""
        args, kwargs = self.call_arguments()
        with _writable(), ExitStack() as engines:
            for engine, contexts in zip(self.engines, self.contexts, strict=True):
                engines.enter_context(engine.own_contexts(contexts))
            return self.run(module, *args, **kwargs)

    def record(self, module: EngineGraph) -> tuple[Any, Any]:
        """A `torch.cuda.CUDAGraph` of one call, and the results that it writes.

        Raises:
            CannotCapture: PyTorch or TensorRT does something that cannot be captured.
        """
        graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[self.device.index]
        before = generator.clone_state()
        try:
            # Other threads may use the GPU meanwhile, but no tensor may be freed by the collector in this one.
            with (
                CAPTURING,
                collector_paused(),
                torch.cuda.graph(graph, self.pool, self.side, capture_error_mode="thread_local"),
            ):
                return graph, self.call(module)
        except RuntimeError as error:
            # The generator takes part in a capture, and does not notice the end of one that fails.
            generator.graphsafe_set_state(before)
            raise CannotCapture(f"the capture failed: {str(error).strip().splitlines()[0]}") from error


@contextmanager
def _writable() -> Iterator[None]:
    """Tensors made in inference mode, or with gradients, could not be written to later."""
    with torch.inference_mode(False), torch.no_grad():
        yield
