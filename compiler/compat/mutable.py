"""`MutableTorchTensorRTModule`: a model that is compiled when it is called, and whose weights may change."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..api import compile as compile_model
from ..errors import UserError
from ..frontends.exported_program import export_module
from ..runtime.compiled_module import CompiledModule
from .arguments import translated
from .made import remember
from .mistakes import InvalidValue, NotPossible
from .modes import weight_streaming
from .refit import replace_weight
from .tools import get_model_device


class RefitFlag(Enum):
    """What the next call does first."""

    UNKNOWN = auto()
    NEEDS_REFIT = auto()
    NEEDS_RECOMPILE = auto()
    LIVE = auto()


@dataclass
class RefitState:
    """What the next call of a module does first, to be read and, for more work than needed, set."""

    module: MutableTorchTensorRTModule = field(repr=False)

    def get_state(self) -> RefitFlag:
        """What it does."""
        return self.module._flag()

    def set_state(self, state: RefitFlag) -> None:
        """Let it compile anew; weights are those of the model in any case."""
        if state is RefitFlag.NEEDS_RECOMPILE:
            self.module.compile()

    def __eq__(self, other: object) -> bool:
        return self.get_state() is (other.get_state() if isinstance(other, RefitState) else other)

    __hash__ = None  # type: ignore[assignment]


class DynamicShapeOutOfRangeException(Exception):
    """Never raised here: what lies outside of expected ranges is compiled for, with a warning."""


class MutableTorchTensorRTModule:
    """A model that is compiled when it is first called, for the shapes that it is called with.

    What is asked of it, other than to be called, is asked of the model: parameters, `load_state_dict`, submodules, and
    so on. Weights are inputs of the engines (see the option `mutable_weights`): those that are written to, or replaced
    by others of their shape, take effect at the next call. The model is compiled again when modules, plain attributes,
    shapes of weights or inputs change; `set_expected_dynamic_shape_range` says how far sizes may vary without that.

    Args:
        pytorch_model: the model, in eval mode.
        options: those of `torch_tensorrt.compile`.
    """

    def __new__(cls, pytorch_model: nn.Module, **options: Any) -> MutableTorchTensorRTModule:
        """A module of a class of its own, which is that of the model too: it is taken for one."""
        both: Any = type(cls.__name__, (MutableTorchTensorRTModule, type(pytorch_model)), {"__doc__": cls.__doc__})
        made: MutableTorchTensorRTModule = object.__new__(both)
        return made

    def __init__(self, pytorch_model: nn.Module, **options: Any) -> None:
        chosen = {key: value for key, value in options.items() if key not in _OF_THE_MODULE}
        chosen["immutable_weights"] = False
        set_own = functools.partial(object.__setattr__, self)
        set_own("original_model", pytorch_model)
        set_own("compiled", None)
        set_own("settings", translated(chosen))
        set_own("_described", None)
        set_own("_call", None)
        set_own("_dynamic_shapes", None)
        set_own("_ranges", None)
        set_own("_arguments", None)
        set_own("compilations", 0)

    @property
    def gm(self) -> CompiledModule | None:
        """What was compiled last."""
        found: CompiledModule | None = self.compiled
        return found

    @property
    def refit_state(self) -> RefitState:
        """What the next call does first, if it has the arguments of the last one; equal to a `RefitFlag`."""
        return RefitState(self)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return get_model_device(self.original_model)

    def update_refit_condition(self) -> None:
        """Nothing: every call looks at the model."""

    def refit_gm(self) -> None:
        """Let what was compiled have the weights of the model now, instead of at the next call."""
        for name, tensor in self._replaced().items() if self.compiled is not None else ():
            replace_weight(self.compiled, name, tensor)

    def get_exported_program(self) -> torch.export.ExportedProgram:
        """The model as it is exported for the arguments of the last call.

        Raises:
            RuntimeError: it was not called yet.
        """
        if self._arguments is None:
            raise NotPossible("the model was not called yet, so that nothing is known of its arguments: call it first.")
        args, kwargs = self._arguments
        return self._exported(args, kwargs, self._dynamic_shapes)

    def set_weight_streaming_ctx(self, requested_budget: int | None = None) -> None:
        """Let engines keep so many bytes of their weights in GPU memory; what TensorRT would choose by default.

        Raises:
            RuntimeError: the model was not compiled yet, or without `enable_weight_streaming`.
        """
        if self.compiled is None:
            raise NotPossible("the model was not compiled yet, so that it has no engines: call it first.")
        streamed = weight_streaming(self.compiled)
        automatic = streamed.get_automatic_weight_streaming_budget()
        streamed.device_budget = automatic if requested_budget is None else requested_budget

    def _flag(self) -> RefitFlag:
        if self.compiled is None or self._described != _description(self.original_model):
            return RefitFlag.NEEDS_RECOMPILE
        return RefitFlag.NEEDS_REFIT if self._replaced() else RefitFlag.LIVE

    def set_expected_dynamic_shape_range(self, args_dynamic_shape: Any, kwargs_dynamic_shape: Any) -> None:
        """Say how far sizes of arguments may vary.

        Args:
            args_dynamic_shape: for every positional argument, `{dimension: torch.export.Dim}`, as
                `torch.export.export` takes them.
            kwargs_dynamic_shape: the same for keyword arguments, by name.
        """
        if not isinstance(args_dynamic_shape, tuple | list) or not isinstance(kwargs_dynamic_shape, Mapping):
            raise InvalidValue("give a tuple for the positional arguments, and a dict for those by name.")
        self._set(_dynamic_shapes=(tuple(args_dynamic_shape), dict(kwargs_dynamic_shape)), compiled=None)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model with its present weights."""
        call, described = _signature(args, kwargs), _description(self.original_model)
        self._set(_arguments=(args, kwargs))
        if self.compiled is None or described != self._described or not self._takes(call):
            self._compile(args, kwargs, call, described)
        self.refit_gm()
        assert self.compiled is not None
        return self.compiled(*args, **kwargs)

    __call__ = forward

    def compile(self) -> None:
        """Compile anew at the next call."""
        self._set(compiled=None)

    def _takes(self, call: Any) -> bool:
        """Whether what was compiled takes a call: of those shapes, or of others within the ranges that it knows."""
        if call == self._call or self._ranges is None:
            return bool(call == self._call)
        shapes = zip(call[0], self._call[0], self._ranges, strict=False)
        return call[1] == self._call[1] and all(_within(now, then, ranges) for now, then, ranges in shapes)

    def _compile(self, args: Any, kwargs: Any, call: Any, described: Any) -> None:
        shapes = self._dynamic_shapes
        try:
            program = self._exported(args, kwargs, shapes)
        except UserError:
            if shapes is None:
                raise
            warnings.warn(
                "the model cannot be exported for the ranges of set_expected_dynamic_shape_range, so that it is "
                "compiled for the shapes of this call.",
                UserWarning,
                stacklevel=4,
            )
            shapes = None
            program = self._exported(args, kwargs, None)
        ranges = None if shapes is None else list(_ranges((args, kwargs), shapes))
        made = remember(compile_model(program, ir="dynamo", **self.settings))
        self._set(compiled=made, _call=call, _ranges=ranges, _described=described, compilations=self.compilations + 1)

    def _exported(self, args: Any, kwargs: Any, shapes: Any) -> torch.export.ExportedProgram:
        return export_module(self.original_model, args, kwargs, _combined(self.original_model, args, kwargs, shapes))

    def _replaced(self) -> dict[str, torch.Tensor]:
        """Weights of the model that are other tensors than the compiled module has, by name."""
        assert self.compiled is not None
        now = {**dict(self.original_model.named_parameters()), **dict(self.original_model.named_buffers())}
        own = {**dict(self.compiled.named_parameters()), **dict(self.compiled.named_buffers())}
        return {
            name: now[name].detach()
            for name, tensor in own.items()
            if name in now and now[name].data_ptr() != tensor.data_ptr()
        }

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "original_model" not in vars(self):
            raise AttributeError(name)
        return getattr(self.original_model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.original_model, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.original_model, name)

    def to(self, *args: Any, **kwargs: Any) -> MutableTorchTensorRTModule:
        """Move the model, and what was compiled of it at the next call."""
        self.original_model.to(*args, **kwargs)
        self._set(compiled=None)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> MutableTorchTensorRTModule:
        twin = MutableTorchTensorRTModule(copy.deepcopy(self.original_model, memo))
        twin._set(settings=dict(self.settings), _dynamic_shapes=self._dynamic_shapes)
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, ({**vars(self), "_arguments": None},)  # data of the user's is no part of the model

    @staticmethod
    def save(module: MutableTorchTensorRTModule, path: str | os.PathLike[str]) -> None:
        """Write the model, its engines and what it was compiled for to a file, which only `load` reads."""
        torch.save(module, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> MutableTorchTensorRTModule:
        """Read what `save` wrote; it is a pickle, so that it can run any code."""
        found: MutableTorchTensorRTModule = torch.load(path, weights_only=False)
        return found

    def __repr__(self) -> str:
        state = "not compiled yet" if self.compiled is None else f"compiled {self.compilations} times"
        return f"MutableTorchTensorRTModule({type(self.original_model).__name__}, {state})"


def restored(state: dict[str, Any]) -> MutableTorchTensorRTModule:
    """The module with these attributes, which a pickle holds."""
    module = MutableTorchTensorRTModule(state["original_model"])
    module._set(**state)
    if module.compiled is not None:
        remember(module.compiled)
    return module


_OF_THE_MODULE = frozenset(
    {"use_python", "allow_complex_guards_as_runtime_asserts", "immutable_weights", "make_refittable"}
)


def _signature(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The shapes of a call's tensors, and all else that is compiled for."""
    leaves, structure = pytree.tree_flatten((args, kwargs))
    tensors = [leaf if isinstance(leaf, torch.Tensor) else None for leaf in leaves]
    rest = [(leaf.dtype, leaf.dim()) if isinstance(leaf, torch.Tensor) else (type(leaf), leaf) for leaf in leaves]
    return tuple(None if tensor is None else tuple(tensor.shape) for tensor in tensors), (structure, rest)


def _ranges(value: Any, shapes: Any) -> Iterator[Mapping[int, Any]]:
    """For every leaf of arguments, which of its sizes may vary, and how far."""
    if isinstance(value, torch.Tensor):
        yield shapes if isinstance(shapes, Mapping) else {}
    elif type(value) in (list, tuple):
        given = [*shapes] if isinstance(shapes, list | tuple) else []
        for place, item in enumerate(value):
            yield from _ranges(item, given[place] if place < len(given) else None)
    elif type(value) is dict:
        for key, item in value.items():
            yield from _ranges(item, shapes.get(key) if isinstance(shapes, Mapping) else None)
    else:
        yield from ({} for _ in pytree.tree_leaves(value))


def _within(now: Any, then: Any, ranges: Mapping[int, Any]) -> bool:
    """Whether a shape differs from another one in sizes that may vary only, and not too far."""
    if now is None or then is None or len(now) != len(then):
        return bool(now == then)
    differ = [place for place, sizes in enumerate(zip(now, then, strict=True)) if sizes[0] != sizes[1]]
    return all(
        place in ranges and getattr(ranges[place], "min", 0) <= now[place] <= getattr(ranges[place], "max", math.inf)
        for place in differ
    )


def _description(model: nn.Module) -> Any:
    """What a compiled model has of a model apart from the numbers in its weights."""
    modules = [(name, type(module), module.training, _plain(module)) for name, module in model.named_modules()]
    weights = [
        (name, tensor.shape, tensor.dtype, tensor.device)
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    ]
    return modules, weights


def _plain(module: nn.Module) -> list[tuple[str, Any]]:
    kinds = (bool, int, float, str, type(None))
    return [
        (name, item)
        for name, item in vars(module).items()
        if isinstance(item, kinds) or (type(item) is tuple and all(isinstance(part, kinds) for part in item))
    ]


def _combined(model: nn.Module, args: Any, kwargs: Any, shapes: Any) -> Any:
    """Dynamic shapes by the names of arguments, as torch.export takes them."""
    if shapes is None:
        return None
    positional, by_name = shapes
    names = list(inspect.signature(model.forward).bind(*args, **kwargs).arguments)
    found = dict(zip(names, positional, strict=False))
    return {
        **{name: found.get(name) or None for name in names},
        **{key: value or None for key, value in by_name.items()},
    }
