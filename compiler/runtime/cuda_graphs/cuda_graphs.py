"""A whole compiled module as CUDA graphs: engines and PyTorch alike, a capture for every signature of inputs."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ..engine.streams import stream_address
from ..engine_graph import EngineGraph
from .graph_capture import Capture, captured
from .recorder import CannotCapture, Forward

Key = Hashable

_TENSORS = frozenset({torch.Tensor, torch.nn.Parameter})


class CudaGraphs:
    """The CUDA graphs of a compiled module.

    Whether the module can be captured is told by looking at its graph, before anything is run; what is found only in
    a capture is caught. Either way the module goes on without CUDA graphs, with one warning, and `reason` says why.

    Args:
        limit: number of captures to keep; the least recently used one goes first.
        reuse_outputs: give the graph's own tensors as results: a later call with the same signature overwrites them.
    """

    def __init__(self, limit: int, reuse_outputs: bool) -> None:
        self.limit, self.reuse_outputs = limit, reuse_outputs
        self.reason: str | None = None
        self._captures: OrderedDict[Key, Capture] = OrderedDict()
        self._pools: dict[Key, Any] = {}
        self._lock = threading.RLock()
        self._warned = False

    def __len__(self) -> int:
        return len(self._captures)

    @property
    def captures(self) -> tuple[Capture, ...]:
        """What was captured, the least recently used first."""
        return tuple(self._captures.values())

    @property
    def has_direct_outputs(self) -> bool:
        """Whether later calls may record graphs that write results to where the caller keeps them."""
        return not self.reuse_outputs and any(capture.direct is not None for capture in self.captures)

    def clear(self) -> None:
        """Forget all captures, and what prevented one; for a module that changed."""
        with self._lock:
            for capture in self._captures.values():
                capture.finish()
            self._captures.clear()
            self.reason = None

    def __call__(self, module: EngineGraph, run: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The results of `run(module, *args, **kwargs)`, from a CUDA graph where that is possible."""
        if self.reason is not None:
            return run(module, *args, **kwargs)
        if args and not kwargs and _TENSORS.issuperset(map(type, args)):
            leaves: Sequence[Any] = args
            structure, device = None, args[0].device
        else:
            leaves, structure = pytree.tree_flatten((args, kwargs))
            device = next((item.device for item in leaves if isinstance(item, torch.Tensor)), None)
        if device is None or not _can_replay_on(device):
            return run(module, *args, **kwargs)
        if device.index != torch.cuda.current_device():
            with torch.cuda.device(device):
                return self(module, run, args, kwargs)
        with self._lock:
            try:
                key = _key(leaves, structure, device)
                capture = self._captures.get(key)
                if capture is None or capture.state != module.state_for(device):
                    capture = captured(module, run, leaves, structure, device, self._pool(device))
                    self._keep(key, capture)
            except CannotCapture as error:
                self._warn(error)
            else:
                self._captures.move_to_end(key)
                tensors = leaves if structure is None else [item for item in leaves if isinstance(item, torch.Tensor)]
                return capture.replay(module, tensors, self.reuse_outputs)
        return run(module, *args, **kwargs)

    def _keep(self, key: Key, capture: Capture) -> None:
        if key in self._captures:
            self._captures.pop(key).finish()
        self._captures[key] = capture
        while len(self._captures) > self.limit:
            self._captures.popitem(last=False)[1].finish()

    def _warn(self, error: CannotCapture) -> None:
        if error.lasting:
            self.reason = str(error)
        if not self._warned:
            self._warned = True
            runs = "this module runs" if error.lasting else "a call runs"
            warnings.warn(f"{runs} without CUDA graphs, because {error}.", RuntimeWarning, stacklevel=4)

    def _pool(self, device: torch.device) -> Any:
        """The memory for what a graph computes; graphs whose results are copied at once can share it on a stream."""
        if self.reuse_outputs:
            return None
        place = (device.index, stream_address(device.index))
        if place not in self._pools:
            self._pools[place] = torch.cuda.graph_pool_handle()
        return self._pools[place]


def _can_replay_on(device: torch.device) -> bool:
    # In a capture of the user's own, the engines themselves are captured.
    return device.type == "cuda" and not torch.cuda.is_current_stream_capturing()


def _key(leaves: Sequence[Any], structure: pytree.TreeSpec | None, device: torch.device) -> Key:
    """The signature of a call: the stream, the structure of the arguments, shapes and data types, and other values."""
    key: list[Any] = [device.index, stream_address(device.index), structure]
    for item in leaves:
        if type(item) in _TENSORS:
            if item.device != device:
                raise CannotCapture(f"inputs are on {device} and on {item.device}", lasting=False)
            key += (item.shape, item.dtype)
        elif item is None or isinstance(item, bool | int | float | str):
            key += (type(item), item)
        else:
            raise CannotCapture(f"an argument is a {type(item).__name__}", lasting=False)
    return tuple(key)
