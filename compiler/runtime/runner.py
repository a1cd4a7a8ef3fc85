"""Who runs a segment: TensorRT, its PyTorch graph, or the reference executor."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import GraphModule

from ..errors import UserError
from ..ir.engine_spec import EngineSpec
from ..ir.memory import address_of_memory, times_written
from ..ir.shape_rule import ShapeRule
from ..settings import Executor
from ..tensorrt.loader import TensorRTNotFound, load
from .calls import input_errors
from .engine.engine import Engine, EngineUnavailable, NothingToCompute
from .engine.runtime_cache import RuntimeCache
from .fallback import on_device
from .options import RuntimeOptions
from .saving import graph_text
from .saving.allowed import Allowed

Tensors = Sequence[torch.Tensor]
Constants = Callable[[], Tensors]


@dataclass
class Notice:
    """Warns for all segments of a compiled module, once for every reason."""

    given: set[str] = field(default_factory=set)

    def warn(self, reason: str) -> None:
        """Warn that segments run in PyTorch, unless that was said before."""
        if reason not in self.given:
            self.given.add(reason)
            text = f"TensorRT engines run in PyTorch here, because {reason}. Set executor='pytorch' to silence this."
            warnings.warn(text, RuntimeWarning, stacklevel=2)


class Runner:
    """Runs one segment.

    Args:
        spec: the engine's specification.
        engine: the serialized engine, uint8[nbytes].
        options: how the engine runs. The executor "auto" runs TensorRT if it can run here and the inputs are on a GPU,
            else PyTorch with a warning; "tensorrt" raises instead; "pytorch" and "reference" never use TensorRT's
            engine, nor is it used for inputs without elements.
        fallback: the segment's PyTorch graph: takes inputs, then constants.
        serialized_fallback: the same as text (see `graph_text`) in UTF-8, uint8[nbytes]; read when first needed.
        allowed: the operators that the text may call; by default those of PyTorch.
        reference: evaluates the segment's network; only in the process that compiled it.
        notice: shared by the segments of a compiled module.
        runtime_cache: likewise.
    """

    def __init__(
        self,
        spec: EngineSpec,
        engine: torch.Tensor,
        *,
        options: RuntimeOptions | None = None,
        fallback: GraphModule | None = None,
        serialized_fallback: torch.Tensor | None = None,
        allowed: Allowed | None = None,
        reference: Callable[[Tensors], list[torch.Tensor]] | None = None,
        notice: Notice | None = None,
        runtime_cache: RuntimeCache | None = None,
    ) -> None:
        # An alias: the tensor may hold its runner, and neither shall wait for the garbage collector.
        self.spec, self.engine, self.options = spec, engine.detach(), options or RuntimeOptions()
        self.executor: Executor = self.options.executor
        self.rule = ShapeRule(spec)
        self.reference = reference
        self.notice = notice or Notice()
        self.runtime_cache = runtime_cache
        self._fallback, self._serialized, self._allowed = fallback, serialized_fallback, allowed
        self._placed: dict[torch.device, GraphModule] = {}
        self._moved: dict[torch.device, tuple[list[torch.Tensor], list[tuple[int, int]], list[torch.Tensor]]] = {}
        self._loading = threading.Lock()
        self._loaded: list[Engine] = []
        self._ready: set[int] = set()
        self._unavailable: dict[torch.device, str] = {}

    def __call__(self, inputs: Tensors, constants: Constants) -> list[torch.Tensor]:
        """Run the segment.

        Raises:
            UserError: an input does not fit, or the executor asked for is not available here.
        """
        executor = self.executor
        if executor == "auto" or executor == "tensorrt":
            engine = self.engine_on(inputs[0].device, constants)
            if engine is not None:
                try:
                    return engine(inputs)
                except NothingToCompute:
                    pass
                except EngineUnavailable as error:
                    self._unavailable[inputs[0].device] = str(error)
                    self._ready.discard(inputs[0].device.index)
                    self.engine_on(inputs[0].device, constants)
        elif executor == "reference":
            if self.reference is None:
                raise UserError(
                    f"executor='reference' needs the TensorRT network of {self.spec.name}, which exists only in the "
                    "process that compiled it: use executor='pytorch', or compile again."
                )
            self._check(inputs)
            return self._in_place(inputs, self.reference(inputs))
        self._check(inputs)
        return self._in_place(inputs, self._run_in_pytorch(inputs, constants()))

    def _in_place(self, inputs: Tensors, results: list[torch.Tensor]) -> list[torch.Tensor]:
        """The results, those that an engine has in the memory of inputs there too."""
        with torch.no_grad():
            for number, position in self.spec.aliases.items():
                results[number] = inputs[position].copy_(results[number])
        return results

    def change(self, options: RuntimeOptions, runtime_cache: RuntimeCache | None) -> None:
        """Run in another way from now on; no other thread may be running the segment."""
        if options.executor != self.options.executor:
            self.executor = options.executor
        self.options, self.runtime_cache = options, runtime_cache
        for engine in self._loaded:
            engine.change(options, runtime_cache)

    def __copy__(self) -> Runner:
        # Engines and networks are read-only and belong to TensorRT: copies share them, and choose their own executor.
        twin = object.__new__(type(self))
        twin.__dict__.update(vars(self), _moved={})
        if self.options.reuse_outputs:
            # What a copy returns is not overwritten by the original's next call.
            twin._loaded, twin._ready = [copy.copy(engine) for engine in self._loaded], set(self._ready)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Runner:
        return copy.copy(self)

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        # A pickled tensor loses its runner; a new one is made where the engine is run.
        return _no_runner, ()

    def engine_on(self, device: torch.device, constants: Constants) -> Engine | None:
        """The engine, loaded, if the executor lets TensorRT run inputs on this device; else None.

        Warns, once for the module, where TensorRT was wanted and cannot run.

        Args:
            device: of the inputs.
            constants: gives the weights that the PyTorch graph takes, with which the engine was built.

        Raises:
            UserError: likewise, but the executor is "tensorrt"; or weights are not what they were.
        """
        if self.executor not in ("auto", "tensorrt"):
            return None
        if device not in self._unavailable:
            try:
                return self._loaded_on(device, constants)
            except EngineUnavailable as error:
                self._unavailable[device] = str(error)
        reason = self._unavailable[device]
        if self.executor == "tensorrt":
            raise UserError(f"executor='tensorrt' cannot run {self.spec.name}: {reason}.")
        self.notice.warn(reason)
        return None

    @property
    def loaded(self) -> Engine | None:
        """The engine, if TensorRT has deserialized it."""
        return self._loaded[0] if self._loaded else None

    def is_ready(self, device: torch.device) -> bool:
        """Whether calls with inputs on this device run the engine, loaded before."""
        return device.index in self._ready and self.executor in ("auto", "tensorrt")

    def _loaded_on(self, device: torch.device, constants: Constants) -> Engine:
        if device.type == "cuda" and device.index in self._ready:
            return self._loaded[0]
        with self._loading:
            reason = unavailable(self.spec, device)
            if reason is not None:
                raise EngineUnavailable(reason)
            if not self._loaded:
                self._loaded.append(Engine(load(), self.engine, self.spec, self.rule, self.options, self.runtime_cache))
            self._loaded[0].prepare(device.index, constants)
            self._ready.add(device.index)
            return self._loaded[0]

    def _check(self, inputs: Tensors) -> None:
        device = inputs[0].device
        for binding, tensor in zip(self.spec.inputs, inputs, strict=True):
            # PyTorch takes numbers from the CPU everywhere.
            if tensor.device != device and (tensor.dim() or tensor.device.type != "cpu"):
                raise input_errors.elsewhere(binding.name, tensor, device)
            if tensor.layout is not torch.strided:
                raise input_errors.sparse(binding.name)
            if tensor.dtype != binding.dtype:
                raise UserError(
                    f"input {binding.name!r} is {tensor.dtype}, but the engine takes {binding.dtype}: give a tensor of "
                    "that dtype."
                )
        self.rule.check([tuple(tensor.shape) for tensor in inputs])

    @torch.no_grad()
    def _run_in_pytorch(self, inputs: Tensors, constants: Tensors) -> list[torch.Tensor]:
        module, weights = self.placed(inputs[0].device, constants)
        # Not called as a module, on which hooks of the user's for all modules would look at weights as inputs.
        results = module.forward(*inputs, *weights)
        # A result of an engine never shares memory with an input, a weight or another result.
        return _unshared(results, (*inputs, *constants))

    def placed(self, device: torch.device, constants: Tensors) -> tuple[GraphModule, Tensors]:
        """The PyTorch graph for inputs on a device, and its weights there."""
        module = self._placed.get(device)
        if module is None:
            module = self._placed[device] = on_device(self.fallback, device)
        return module, self._constants_on(device, constants)

    def _constants_on(self, device: torch.device, constants: Tensors) -> Tensors:
        if all(tensor.device == device for tensor in constants):
            return constants
        # Weights were left on another device than the inputs: copy them once, not in every call.
        state = [(id(tensor), times_written(tensor)) for tensor in constants]
        _, before, moved = self._moved.get(device, ([], [], []))
        if state != before:
            moved = [tensor.to(device) for tensor in constants]
            self._moved[device] = list(constants), state, moved
        return moved

    def check_fallback(self) -> None:
        """Raise UserError if the text of the PyTorch graph is damaged, or calls what a file may not call."""
        if self._fallback is None and self._serialized is not None:
            graph_text.check(self._serialized.cpu().numpy().tobytes(), self._allowed)

    @property
    def fallback(self) -> GraphModule:
        """The segment's PyTorch graph."""
        if self._fallback is None:
            assert self._serialized is not None, "a runner has a fallback in one form or the other"
            self._fallback = graph_text.loads(self._serialized.cpu().numpy().tobytes(), allowed=self._allowed)
        return self._fallback


def unavailable(spec: EngineSpec, device: torch.device) -> str | None:
    """Why an engine cannot run on a device, as far as that can be told without trying; None if it may."""
    if not torch.cuda.is_available():
        return "this machine has no GPU that PyTorch can use"
    if device.type != "cuda":
        return f"the inputs are on the {device.type.upper()}"
    try:
        trt = load()
    except TensorRTNotFound as error:
        return str(error)
    if (trt.flavor, trt.version) != (spec.flavor, spec.version):
        return f"the engine was built by {spec.flavor} {spec.version}, and {trt.flavor} {trt.version} is installed"
    return None


def _no_runner() -> None:
    return None


def _unshared(results: Tensors, others: Tensors) -> list[torch.Tensor]:
    seen = set(map(address_of_memory, others))
    unshared = []
    for result in results:
        memory = address_of_memory(result)
        unshared.append(result.clone() if memory in seen else result)
        seen.add(memory)
    return unshared
