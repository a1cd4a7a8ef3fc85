"""How compiled modules run: Torch-TensorRT's context managers, and the modes that a process has for all of them."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..ir.engine_operator import OPERATOR
from ..runtime.compiled_module import CompiledModule
from ..runtime.compiled_segment import CompiledSegment
from .mistakes import InvalidType, NotPossible


class _Modes:
    """The modes of the process, and the modules that they are about: those that `trt_passes.torch_tensorrt` made."""

    def __init__(self) -> None:
        self.cuda_graphs = False
        self.whole_graphs = 0
        self.modules: weakref.WeakSet[CompiledModule] = weakref.WeakSet()
        self.when_called: weakref.WeakSet[CompiledModule] = weakref.WeakSet()
        self.waiting: list[_Changed] = []


_MODES = _Modes()


def follow_modes(module: CompiledModule) -> None:
    """Let a module run as the process's modes say from now on."""
    _MODES.modules.add(module)
    if _MODES.cuda_graphs:
        module.change_options(cuda_graphs=True)


def follow_modes_when_called(module: Any) -> None:
    """The same for what torch.compile has made, and the contexts that what it returned is in."""
    for part in compiled_in(module):
        follow_modes(part)
        _MODES.when_called.add(part)
        for context in _MODES.waiting:
            if _is_of(part, context.module):
                context.change(part)


def set_cudagraphs_mode(mode: bool) -> None:
    """Let every module that is compiled or loaded, now or later, replay CUDA graphs, or none; see `cuda_graphs`."""
    _MODES.cuda_graphs = bool(mode)
    for module in list(_MODES.modules):
        module.change_options(cuda_graphs=bool(mode))


def get_cudagraphs_mode() -> bool:
    """Whether `set_cudagraphs_mode` let modules replay CUDA graphs."""
    return _MODES.cuda_graphs


def get_whole_cudagraphs_mode() -> bool:
    """Whether some `enable_cudagraphs` that was entered captures PyTorch's operators beside engines."""
    return _MODES.whole_graphs > 0


def compiled_modules(module: Any) -> list[CompiledModule]:
    """The compiled modules in a module, or in several; itself, if it is one.

    Raises:
        TypeError: there is none.
    """
    items = module if isinstance(module, list | tuple) else [module]
    found = [part for item in items for part in compiled_in(item)]
    if not found and not any(map(_when_called, items)):
        kind = type(module).__name__
        raise InvalidType(f"a {kind} has no engines: give what compile or load returned, or a module that has it.")
    return found


def compiled_in(module: Any) -> Iterator[CompiledModule]:
    """The compiled modules in a module, itself among them; what wraps one has it as its attribute `compiled`."""
    inner = getattr(module, "compiled", None)
    if isinstance(inner, CompiledModule):
        module = inner
    if _when_called(module):
        yield from (part for part in [*_MODES.when_called] if _is_of(part, module))
    elif isinstance(module, nn.Module) and not isinstance(module, torch.jit.ScriptModule):
        yield from (part for part in module.modules() if isinstance(part, CompiledModule))


def _when_called(module: Any) -> bool:
    """Whether something is what `torch.compile` returned, which compiles when it is called."""
    own = getattr(module, "__dict__", {})
    return "_torchdynamo_orig_callable" in own or "_orig_mod" in own.get("_modules", {})


def _is_of(part: CompiledModule, module: Any) -> bool:
    """Whether torch.compile made a compiled module of a model: it reads weights of that, or neither has any.

    Of what reads none, it cannot be told which model without weights, or function, it was made of.
    """
    owner = getattr(module, "_orig_mod", None)
    owned, read = ({*map(id, _weights(item))} for item in (owner, part))
    return bool(owned & read) or not (owned or read)


def _weights(module: Any) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()] if isinstance(module, nn.Module) else []


class _Changed(AbstractContextManager[Any]):
    """Meanwhile, the compiled modules in a module run with other options; gives the module, to call it.

    Of what `torch.compile` returned, that are also those that are compiled meanwhile.
    """

    def __init__(self, module: Any, **options: Any) -> None:
        self.module, self._options = module, options
        self._parts = compiled_modules(module)
        self._stack = ExitStack()

    def __enter__(self) -> Any:
        with ExitStack() as stack:
            self._stack = stack
            for part in self._parts:
                self.change(part)
            if _when_called(self.module):
                _MODES.waiting.append(self)
                stack.callback(_MODES.waiting.remove, self)
            self._stack = stack.pop_all()
        return self.module

    def change(self, part: CompiledModule) -> None:
        """Let a compiled module run with the other options until the end."""
        self._stack.enter_context(part.with_options(**self._options))

    def __exit__(self, *error: Any) -> None:
        self._stack.close()


class enable_cudagraphs(_Changed):
    """Meanwhile, a compiled module replays CUDA graphs, engines and PyTorch's operators alike.

    Args:
        compiled_module: what `compile` returned, or a module that has such.
        cuda_graph_strategy: "disabled" or "whole_graph_capture", which is what is done.
    """

    def __init__(self, compiled_module: Any, *, cuda_graph_strategy: str = "whole_graph_capture") -> None:
        super().__init__(compiled_module, cuda_graphs=cuda_graph_strategy != "disabled")

    def __enter__(self) -> Any:
        module = super().__enter__()
        self._whole = any(_has_islands(part) for part in self._parts)
        _MODES.whole_graphs += self._whole
        return module

    def __exit__(self, *error: Any) -> None:
        _MODES.whole_graphs -= self._whole
        super().__exit__(*error)


def _has_islands(module: CompiledModule) -> bool:
    calls = (node for node in module.graph.nodes if node.op == "call_function")
    return any(isinstance(node.target, torch._ops.OpOverload) and node.target is not OPERATOR for node in calls)


class enable_pre_allocated_outputs(_Changed):
    """Meanwhile, a call writes its results to those of the call before, instead of allocating them."""

    def __init__(self, module: Any) -> None:
        super().__init__(module, reuse_outputs=True)


class enable_output_allocator(_Changed):
    """Nothing changes meanwhile: results whose sizes only a call tells are always allowed here."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)


class ResourceAllocationStrategy(_Changed):
    """Nothing changes meanwhile: engines keep the memory that they compute in.

    Args:
        compiled_module: what `compile` returned, or a module that has such.
        dynamically_allocate_resources: whether the memory should be given back after every call, which is a warning.
    """

    def __init__(self, compiled_module: Any, dynamically_allocate_resources: bool = False) -> None:
        super().__init__(compiled_module)
        if dynamically_allocate_resources:
            warnings.warn(
                "engines keep the memory that they compute in here: it is freed with the compiled module.",
                UserWarning,
                stacklevel=2,
            )


class optimization_profile(_Changed):
    """Nothing changes meanwhile: a call takes the first profile of its engine that has its sizes.

    Args:
        module: what `compile` returned.
        profile: the number of a profile, or "auto".
    """

    def __init__(self, module: Any, profile: int | str = "auto") -> None:
        if not (profile == "auto" or (isinstance(profile, int) and profile >= 0)):
            raise InvalidType(f"the profile is {profile!r}: give its number, or 'auto'.")
        super().__init__(module)


class set_multi_device_safe_mode(AbstractContextManager[Any]):
    """Nothing changes: an engine always runs on the device of its inputs."""

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)

    def __exit__(self, *error: Any) -> None:
        return None


class weight_streaming(AbstractContextManager[Any]):
    """Meanwhile, engines may keep less of their weights in GPU memory: set `device_budget` to the bytes.

    It needs `enable_weight_streaming=True` when compiling.
    """

    def __init__(self, module: Any) -> None:
        self._parts = compiled_modules(module)
        self._before = [part.options for part in self._parts]
        self._budget = self.total_device_budget

    def __exit__(self, *error: Any) -> None:
        for part, before in zip(self._parts, self._before, strict=True):
            part.change_options(weight_streaming_budget=before.weight_streaming_budget)

    @property
    def total_device_budget(self) -> int:
        """Bytes of all weights that can be streamed; without a GPU, those of the weights that engines were built of.

        0 of what was compiled without `enable_weight_streaming`.
        """
        return sum(self._streamable())

    def _streamable(self) -> list[int]:
        return [
            _streamable(segment) if _streams(part) else 0 for part in self._parts for segment in part.segments.values()
        ]

    @property
    def device_budget(self) -> int:
        """Bytes of GPU memory for weights, of all engines together."""
        return self._budget

    @device_budget.setter
    def device_budget(self, nbytes: int) -> None:
        if not isinstance(nbytes, int):
            raise InvalidType(f"device_budget is {nbytes!r}: give bytes, as a whole number.")
        if nbytes < 0:
            raise NotPossible(f"device_budget is {nbytes}: give bytes, as a whole number of at least 0.")
        if not any(map(_streams, self._parts)):
            raise NotPossible("no engine streams weights: compile with enable_weight_streaming=True.")
        total = self.total_device_budget
        share = min(1.0, nbytes / total) if total else 1.0
        for part in self._parts:
            for segment in part.segments.values():
                budget = int(share * _streamable(segment))
                segment.runner.change(replace(part.options, weight_streaming_budget=budget), part.runtime_cache)
        self._budget = min(nbytes, total)

    def get_automatic_weight_streaming_budget(self) -> int:
        """The bytes that TensorRT would choose, of engines that have run; of others, all that can be streamed."""
        engines = (segment.runner.loaded for part in self._parts for segment in part.segments.values())
        return sum(engine.automatic_budget for engine in engines if engine is not None) or self.total_device_budget

    def get_required_device_budgets(self) -> list[int]:
        """Bytes of weights that can be streamed, of every engine."""
        return self._streamable()


def _streams(part: Any) -> bool:
    return bool(part.report.settings.get("enable_weight_streaming", True))


def _streamable(segment: CompiledSegment) -> int:
    loaded = segment.runner.loaded
    return sum(tensor.nbytes for tensor in segment.constants()) if loaded is None else loaded.streamable_bytes
