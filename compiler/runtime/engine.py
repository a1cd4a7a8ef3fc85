"""A deserialized engine: one per device, an execution context per thread and stream, no synchronization."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import UserError
from ..tensorrt.dtypes import short_name
from ..tensorrt.loader import TensorRT
from ..tensorrt.log import collecting_logger, error_lines
from .engine_spec import EngineSpec
from .shape_rule import Shape, ShapeRule


class EngineUnavailable(Exception):
    """An engine cannot run on this machine; the message says why."""


@dataclass
class _Context:
    """An execution context, and what it was last told."""

    context: Any
    shapes: tuple[Shape, ...] | None = None
    output_shapes: tuple[Shape, ...] = ()


@dataclass
class _PerThread(threading.local):
    contexts: dict[tuple[int, int], _Context] = field(default_factory=dict)


class Engine:
    """Runs a serialized engine on CUDA tensors.

    Calls only enqueue work on the current stream. Threads may call it at the same time.

    Args:
        trt: the TensorRT to run it with.
        plan: the serialized engine, uint8[nbytes], on any device.
        spec: its specification.
        rule: computes its output shapes.
    """

    def __init__(self, trt: TensorRT, plan: torch.Tensor, spec: EngineSpec, rule: ShapeRule) -> None:
        self.trt, self.spec = trt, spec
        self._plan, self._rule = plan, rule
        self._logger = collecting_logger(trt.module)
        self._lock = threading.Lock()
        # TensorRT engines need their runtime for as long as they live.
        self._engines: dict[int, tuple[Any, Any]] = {}
        self._local = _PerThread()
        self._input_names = tuple(binding.name for binding in spec.inputs)
        self._input_dtypes = tuple(binding.dtype for binding in spec.inputs)
        self._outputs = tuple((binding.name, binding.dtype) for binding in spec.outputs)
        self._dynamic = tuple(i for i, binding in enumerate(spec.inputs) if binding.is_dynamic)

    def prepare(self, device: int) -> None:
        """Deserialize the engine for a device, unless that was done before.

        Raises:
            EngineUnavailable: TensorRT refuses, with its reason.
        """
        with self._lock:
            if device in self._engines:
                return
            with torch.cuda.device(device):
                runtime = self.trt.module.Runtime(self._logger)
                data = self._plan.cpu().numpy().data
                engine = runtime.deserialize_cuda_engine(data)
            if engine is None:
                reasons = error_lines(self._logger.records)
                raise EngineUnavailable(f"{self.trt} refuses it: {reasons[0] if reasons else 'no reason given'}")
            self._logger.records.clear()
            self._engines[device] = (runtime, engine)

    def __call__(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Enqueue one inference.

        Args:
            inputs: CUDA tensors in the order of the specification; copied only where they are not contiguous.

        Returns:
            New tensors from PyTorch's caching allocator.

        Raises:
            UserError: an input does not fit, naming it.
            EngineUnavailable: the engine cannot be deserialized here.
        """
        device = inputs[0].device
        index = device.index
        if torch.cuda.current_device() != index:
            with torch.cuda.device(index):
                return self._enqueue(inputs, device, index)
        return self._enqueue(inputs, device, index)

    def _enqueue(self, inputs: Sequence[torch.Tensor], device: torch.device, index: int) -> list[torch.Tensor]:
        stream = torch.cuda.current_stream(index).cuda_stream
        state = self._local.contexts.get((index, stream)) or self._create_context(index, stream)
        context = state.context
        shapes = tuple([tuple(tensor.shape) for tensor in inputs])
        if shapes != state.shapes:
            self._set_shapes(state, shapes)
        # Contiguous copies must outlive the call that reads their addresses.
        kept = []
        for name, dtype, tensor in zip(self._input_names, self._input_dtypes, inputs, strict=True):
            if tensor.dtype != dtype or tensor.device != device:
                raise self._misplaced(name, dtype, device, tensor)
            tensor = tensor.contiguous()
            kept.append(tensor)
            context.set_tensor_address(name, _address(tensor))
        outputs = []
        for (name, dtype), shape in zip(self._outputs, state.output_shapes, strict=True):
            tensor = torch.empty(shape, dtype=dtype, device=device)
            outputs.append(tensor)
            context.set_tensor_address(name, _address(tensor))
        if not context.execute_async_v3(stream):
            reasons = error_lines(self._logger.records)
            self._logger.records.clear()
            raise RuntimeError(f"{self.trt} could not run {self.spec.name}: {' | '.join(reasons) or 'no reason given'}")
        return outputs

    def _create_context(self, device: int, stream: int) -> _Context:
        self.prepare(device)
        context = self._engines[device][1].create_execution_context()
        if context is None:
            reasons = error_lines(self._logger.records)
            raise RuntimeError(f"{self.trt} has no execution context for {self.spec.name}: {' | '.join(reasons)}")
        state = self._local.contexts[device, stream] = _Context(context)
        return state

    def _set_shapes(self, state: _Context, shapes: tuple[Shape, ...]) -> None:
        self._rule.check(shapes)
        for index in self._dynamic:
            name = self._input_names[index]
            if not state.context.set_input_shape(name, shapes[index]):
                raise UserError(
                    f"input {name!r} has shape {shapes[index]}, which {self.trt} does not accept for this engine: "
                    f"{' | '.join(error_lines(self._logger.records))}"
                )
        state.output_shapes = self._rule.output_shapes(shapes)
        state.shapes = shapes

    def _misplaced(self, name: str, dtype: torch.dtype, device: torch.device, tensor: torch.Tensor) -> UserError:
        if tensor.dtype != dtype:
            found, wanted = short_name(tensor.dtype), short_name(dtype)
            return UserError(f"input {name!r} is {found}, but the engine takes {wanted}: give a tensor of that dtype.")
        return UserError(f"input {name!r} is on {tensor.device}, but others are on {device}: put all on one.")


def _address(tensor: torch.Tensor) -> int:
    # TensorRT refuses null, which is what an empty tensor has; it reads and writes nothing there.
    return tensor.data_ptr() or 256
