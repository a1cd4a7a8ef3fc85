"""A deserialized engine: one per device, an execution context per thread and stream, no synchronization."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from ...errors import UserError
from ...ir.dtypes import short_name
from ...ir.engine_spec import EngineSpec
from ...ir.lean_plan import WeightsChanged, whole
from ...ir.memory import address_of_memory
from ...ir.shape_rule import Shape, ShapeRule
from ...tensorrt.loader import TensorRT
from ...tensorrt.log import collecting_logger, error_lines
from ..calls import input_errors
from ..options import RuntimeOptions
from .exclusive import CAPTURING
from .runtime_cache import RuntimeCache
from .streams import stream_address


class EngineUnavailable(Exception):
    """An engine cannot run on this machine; the message says why."""


class NothingToCompute(Exception):
    """An input has no elements: TensorRT's kernels stop on some of these, or read what is not there."""


_ALIGNMENT = 256
"""Bytes. TensorRT's kernels may rely on it; PyTorch allocates at multiples of 512, but views can begin anywhere."""

_DENSE = torch.strided

_REMEMBERED = 100
"""Messages of TensorRT's to look for a reason in, when something fails."""

_IDLE_ADDRESS = 256
"""For empty tensors, whose own address is null: TensorRT refuses that, and reads and writes nothing there."""


@dataclass
class Execution:
    """An execution context, and what it was last told.

    `given_outputs` are tensors for the next call to write to, by the number of the output.
    """

    context: Any
    input_addresses: list[int]
    output_addresses: list[int]
    shapes: list[Shape] | None = None
    output_shapes: tuple[Shape, ...] = ()
    kept_outputs: dict[int, torch.Tensor] | None = None
    given_outputs: dict[int, torch.Tensor] = field(default_factory=dict)
    has_run: bool = False


Contexts = dict[tuple[int, int, int], Execution]
"""Execution contexts by index of the device, address of the stream and number of the optimization profile."""


@dataclass
class _PerThread(threading.local):
    """`contexts` are in use: those of the thread, which are `usual`, or others, see `Engine.own_contexts`.

    `profile` is the optimization profile of the last call, and `shapes` those that it had.
    """

    usual: Contexts = field(default_factory=dict)
    contexts: Contexts = field(init=False)
    specialization: str | None = None
    shapes: list[Shape] | None = None
    profile: int = 0

    def __post_init__(self) -> None:
        self.contexts = self.usual


class Engine:
    """Runs a serialized engine on CUDA tensors.

    Calls only enqueue work on the current stream. Threads may call it at the same time.

    Args:
        trt: the TensorRT to run it with.
        plan: the serialized engine, uint8[nbytes], on any device; see `lean_plan` for what it may lack.
        spec: its specification.
        rule: computes its output shapes.
        options: kernel specialization, weight streaming and reuse of outputs are read.
        runtime_cache: keeps the kernels that TensorRT-RTX compiles; without one they last as long as the process.
    """

    def __init__(
        self,
        trt: TensorRT,
        plan: torch.Tensor,
        spec: EngineSpec,
        rule: ShapeRule,
        options: RuntimeOptions | None = None,
        runtime_cache: RuntimeCache | None = None,
    ) -> None:
        self.trt, self.spec = trt, spec
        self._plan, self._rule, self._options = plan, rule, options or RuntimeOptions()
        self._runtime_cache, self._reuses = runtime_cache, self._options.reuse_outputs
        self._logger = collecting_logger(trt.module, _REMEMBERED)
        self._lock = threading.Lock()
        # TensorRT engines need their runtime for as long as they live.
        self._engines: dict[int, tuple[Any, Any]] = {}
        self._local = _PerThread()
        self._input_names = tuple(binding.name for binding in spec.inputs)
        self._input_dtypes = tuple(binding.dtype for binding in spec.inputs)
        self._outputs = tuple((binding.name, binding.dtype) for binding in spec.outputs)
        self._dynamic = tuple(i for i, binding in enumerate(spec.inputs) if binding.is_dynamic)
        self._profiles, self._aliases = spec.profiles, spec.aliases

    def __copy__(self) -> Engine:
        # What is deserialized is read-only; execution contexts and outputs are not shared.
        twin = object.__new__(type(self))
        twin.__dict__.update(vars(self), _local=_PerThread())
        return twin

    def change(self, options: RuntimeOptions, runtime_cache: RuntimeCache | None) -> None:
        """Run in another way from now on; no other thread may be running the engine.

        Execution contexts, in which kernels are compiled, are kept where they can be.
        """
        before, cached = self._options, self._runtime_cache
        self._options, self._runtime_cache, self._reuses = options, runtime_cache, options.reuse_outputs
        streams = options.weight_streaming_budget != before.weight_streaming_budget
        strategy = "dynamic_shapes_kernel_specialization_strategy"
        if streams or runtime_cache is not cached or getattr(options, strategy) != getattr(before, strategy):
            self._local = _PerThread()
        if streams:
            for _, engine in self._engines.values():
                self._set_budget(engine)

    @property
    def streamable_bytes(self) -> int:
        """Bytes of weights that can stay in host memory, of an engine that was deserialized."""
        return max((int(engine.streamable_weights_size) for _, engine in self._engines.values()), default=0)

    @property
    def automatic_budget(self) -> int:
        """Bytes of GPU memory for weights that TensorRT would choose, of an engine that was deserialized."""
        budgets = (engine.get_weight_streaming_automatic_budget() for _, engine in self._engines.values())
        return max(map(int, budgets), default=0)

    def prepare(self, device: int, weights: Callable[[], Sequence[torch.Tensor]] = tuple) -> None:
        """Deserialize the engine for a device, unless that was done before.

        Args:
            device: its index.
            weights: gives those that the engine was built with, which hold what its bytes lack.

        Raises:
            EngineUnavailable: TensorRT refuses, with its reason.
            UserError: weights are not what they were.
        """
        with CAPTURING, self._lock:
            if device in self._engines:
                return
            with torch.cuda.device(device):
                runtime = self.trt.module.Runtime(self._logger)
                data = self._whole(weights())
                engine = self._made(lambda: runtime.deserialize_cuda_engine(data))
            if engine is None:
                raise EngineUnavailable(f"{self.trt} refuses it: {self._said()}")
            self._logger.records.clear()
            self._set_budget(engine)
            self._engines[device] = (runtime, engine)

    def _whole(self, weights: Sequence[torch.Tensor]) -> memoryview:
        try:
            return whole(self._plan.cpu().numpy(), weights).data
        except WeightsChanged as error:
            raise UserError(
                f"weights of {self.spec.name} were written to since its engine was built, which holds what they were "
                f"({error}): compile the model again, or with mutable_weights=True."
            ) from error
        except ValueError as error:
            raise EngineUnavailable(f"its bytes are damaged: {error}") from error

    def _set_budget(self, engine: Any) -> None:
        streamable = engine.streamable_weights_size
        budget = self._options.weight_streaming_budget
        # Engines that were not built for it stream nothing.
        if streamable:
            wanted = engine.get_weight_streaming_automatic_budget() if budget is None else min(budget, streamable)
            engine.weight_streaming_budget_v2 = wanted

    @contextmanager
    def own_contexts(self, own: Contexts) -> Iterator[None]:
        """Meanwhile, this thread runs the engine with these execution contexts, to which those that lack are added.

        For CUDA graphs: a captured graph needs a context that nobody else uses, with its kernels compiled before the
        capture rather than in the background.
        """
        before = self._local.contexts
        self._local.contexts = own
        if self._options.dynamic_shapes_kernel_specialization_strategy == "lazy":
            self._local.specialization = "eager"
        try:
            yield
        finally:
            self._local.contexts, self._local.specialization = before, None

    def __call__(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Enqueue one inference.

        Args:
            inputs: CUDA tensors in the order of the specification; copied only where they are not contiguous, or begin
                at an address that TensorRT does not take.

        Returns:
            New tensors from PyTorch's caching allocator; with the option `reuse_outputs` those of the call before, if
            it was on the same stream and thread and had the same shapes.

        Raises:
            UserError: an input does not fit, naming it.
            EngineUnavailable: the engine cannot be deserialized here, has no execution context, or no kernels that run.
            NothingToCompute: an input has no elements.
        """
        device = inputs[0].device
        index = device.index
        if torch.cuda.current_device() != index:
            with torch.cuda.device(index):
                return self._enqueue(inputs, device, index)
        return self._enqueue(inputs, device, index)

    def _enqueue(self, inputs: Sequence[torch.Tensor], device: torch.device, index: int) -> list[torch.Tensor]:
        stream = stream_address(index)
        shapes: list[Shape] = [tensor.shape for tensor in inputs]
        profile = self._profile_of(shapes) if self._profiles > 1 else 0
        state = self._local.contexts.get((index, stream, profile)) or self._create_context(index, stream, profile)
        if shapes != state.shapes:
            self._set_shapes(state, shapes)
        # Copies must outlive the call that reads their addresses.
        kept = []
        addresses = state.input_addresses
        # Results of the call before may be inputs of this one, which writes to them.
        overwritten = [address_of_memory(tensor) for tensor in (state.kept_outputs or {}).values()]
        for position, tensor in enumerate(inputs):
            if tensor.dtype != self._input_dtypes[position] or tensor.device != device or tensor.layout is not _DENSE:
                raise self._misplaced(position, device, tensor)
            tensor = tensor.contiguous()
            address = tensor.data_ptr()
            # What is marked as negated has the numbers without the sign in memory.
            if address % _ALIGNMENT or tensor.is_neg() or (overwritten and address_of_memory(tensor) in overwritten):
                tensor = tensor.resolve_neg().clone()
                address = tensor.data_ptr()
            kept.append(tensor)
            if address != addresses[position] or not address:
                self._tell(state, addresses, position, self._input_names[position], address)
        outputs = self._outputs_of(state, kept)
        addresses = state.output_addresses
        for position, tensor in enumerate(outputs):
            address = tensor.data_ptr()
            if address != addresses[position] or not address:
                self._tell(state, addresses, position, self._outputs[position][0], address)
        if not state.context.execute_async_v3(stream):
            if torch.cuda.is_current_stream_capturing():  # a failed capture says nothing about calls
                raise RuntimeError(f"{self.trt} could not run {self.spec.name} in a capture: {self._said()}")
            raise EngineUnavailable(f"{self.trt} could not run it: {self._said()}")
        for number, position in self._aliases.items():
            # A copy was written to, where the memory of the input itself was not what TensorRT takes.
            if kept[position] is not inputs[position]:
                inputs[position].copy_(kept[position])
            outputs[number] = inputs[position]
        if not state.has_run:
            state.has_run = True
            if self._runtime_cache is not None:
                self._runtime_cache.save()
        return outputs

    def _tell(self, state: Execution, addresses: list[int], position: int, name: str, address: int) -> None:
        if not state.context.set_tensor_address(name, address or _IDLE_ADDRESS):
            addresses[position] = -1
            raise RuntimeError(f"{self.trt} does not take the memory of {name!r} for {self.spec.name}: {self._said()}")
        addresses[position] = address

    def _outputs_of(self, state: Execution, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What the engine writes to: new tensors, those of the call before, those given, and some inputs."""
        found = state.kept_outputs if self._reuses else None
        if not found:
            found = self._new_outputs(state, inputs[0])
        found = {**found, **{number: inputs[position] for number, position in self._aliases.items()}}
        return [found[number] for number in range(len(self._outputs))]

    def _new_outputs(self, state: Execution, like: torch.Tensor) -> dict[int, torch.Tensor]:
        """All outputs by number, but those in the memory of inputs."""
        own = {
            number: (shape, dtype)
            for number, ((_, dtype), shape) in enumerate(zip(self._outputs, state.output_shapes, strict=True))
            if number not in self._aliases
        }
        if state.given_outputs:
            given, state.given_outputs = state.given_outputs, {}
            return {
                number: given[number] if number in given else like.new_empty(shape, dtype=dtype)
                for number, (shape, dtype) in own.items()
            }
        if not self._reuses:
            return {number: like.new_empty(shape, dtype=dtype) for number, (shape, dtype) in own.items()}
        # Made in a call under torch.inference_mode, they could not be used outside of it later.
        with torch.inference_mode(False):
            state.kept_outputs = {number: like.new_empty(shape, dtype=dtype) for number, (shape, dtype) in own.items()}
        return state.kept_outputs

    def _profile_of(self, shapes: list[Shape]) -> int:
        local = self._local
        if shapes != local.shapes:
            self._rule.check(shapes)
            local.shapes, local.profile = shapes, self._rule.profile_of(shapes)
        return local.profile

    def _create_context(self, device: int, stream: int, profile: int) -> Execution:
        self.prepare(device)
        with CAPTURING:
            context = self._made(lambda: self._new_context(device, stream, profile))
        if context is None:
            raise EngineUnavailable(f"{self.trt} has no execution context for it: {self._said()}")
        state = Execution(context, [-1] * len(self._input_names), [-1] * len(self._outputs))
        self._local.contexts[device, stream, profile] = state
        return state

    def _made(self, make: Callable[[], Any]) -> Any:
        """What TensorRT makes; if it lacks memory, once more without what PyTorch and other streams keep."""
        made = make()
        if made is None and "memory" in " ".join(error_lines(self._logger.records)).lower():
            self._logger.records.clear()
            torch.cuda.synchronize()
            self._local.usual.clear()
            torch.cuda.empty_cache()
            made = make()
        return made

    def _new_context(self, device: int, stream: int, profile: int) -> Any:
        engine = self._engines[device][1]
        if self._profiles == 1:
            return self._context_of(engine, device, "STATIC")
        # Memory for its profile, where TensorRT can have that; else for the largest one.
        for allocation in ("ON_PROFILE_CHANGE", "STATIC"):
            context = self._context_of(engine, device, allocation)
            if context is not None and context.set_optimization_profile_async(profile, stream):
                return context
        return None

    def _context_of(self, engine: Any, device: int, allocation: str) -> Any:
        strategies = getattr(self.trt.module, "ExecutionContextAllocationStrategy", None)
        if not self.trt.has_runtime_cache:
            if allocation == "STATIC" or strategies is None:
                return engine.create_execution_context()
            return engine.create_execution_context(getattr(strategies, allocation))
        config = engine.create_runtime_config()
        specializations = self.trt.module.DynamicShapesKernelSpecializationStrategy
        wanted = self._local.specialization or self._options.dynamic_shapes_kernel_specialization_strategy
        config.dynamic_shapes_kernel_specialization_strategy = getattr(specializations, wanted.upper())
        if allocation != "STATIC" and strategies is not None:
            config.set_execution_context_allocation_strategy(getattr(strategies, allocation))
        if self._runtime_cache is not None:
            self._runtime_cache.attach(config, device)
        return engine.create_execution_context(config)

    def _set_shapes(self, state: Execution, shapes: list[Shape]) -> None:
        self._rule.check(shapes)
        if any(0 in shape for shape in shapes):
            raise NothingToCompute
        # If a later step raises, the context has neither the shapes before nor these.
        state.shapes = None
        for index in self._dynamic:
            name = self._input_names[index]
            if not state.context.set_input_shape(name, shapes[index]):
                raise UserError(
                    f"input {name!r} has shape {tuple(shapes[index])}, which {self.trt} does not accept for this "
                    f"engine: {self._said()}"
                )
        state.output_shapes = self._rule.output_shapes(shapes)
        state.kept_outputs = None
        state.shapes = shapes

    def _misplaced(self, position: int, device: torch.device, tensor: torch.Tensor) -> UserError:
        name, dtype = self._input_names[position], self._input_dtypes[position]
        if tensor.layout is not _DENSE:
            return input_errors.sparse(name)
        if tensor.dtype != dtype:
            found, wanted = short_name(tensor.dtype), short_name(dtype)
            return UserError(f"input {name!r} is {found}, but the engine takes {wanted}: give a tensor of that dtype.")
        return input_errors.elsewhere(name, tensor, device)

    def _said(self) -> str:
        """TensorRT's errors since it was last asked, as one line."""
        reasons = error_lines(self._logger.records)
        self._logger.records.clear()
        return " | ".join(reasons) or "no reason given"
