"""What of Torch-TensorRT's features there is here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

from ..tensorrt.loader import TensorRTNotFound, load
from .mistakes import NotThere


class Features:
    """Whether a feature is there, by the names of `torch_tensorrt.ENABLED_FEATURES`."""

    torch_tensorrt_runtime = True
    dynamo_frontend = True
    torchscript_frontend = True
    fx_frontend = True
    qdp_plugin = False
    aot_plugin = False
    trtllm_for_nccl = False
    executorch = False

    @property
    def tensorrt_rtx(self) -> bool:
        """Whether the TensorRT that is used is TensorRT-RTX."""
        try:
            return load().is_rtx
        except TensorRTNotFound:
            return False

    @property
    def windows_cross_compile(self) -> bool:
        """Whether engines that are built here run on Windows, as those of TensorRT-RTX do."""
        return self.tensorrt_rtx

    @property
    def native_trt_collectives(self) -> bool:
        """Whether collectives of several GPUs are layers of engines: here PyTorch runs them, between engines."""
        return False

    @property
    def refit(self) -> bool:
        """Whether weights of engines can be changed, which `mutable_weights` is for."""
        return True

    def __repr__(self) -> str:
        names = [name for name in dir(self) if not name.startswith("_")]
        return f"Features({', '.join(f'{name}={getattr(self, name)}' for name in names)})"


ENABLED_FEATURES = Features()


def has_torch_tensorrt_runtime() -> bool:
    """Whether engines can be run."""
    return ENABLED_FEATURES.torch_tensorrt_runtime


def has_torchscript_frontend() -> bool:
    """Whether TorchScript can be compiled."""
    return ENABLED_FEATURES.torchscript_frontend


def _needing(name: str, wanted: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator, whose function raises NotImplementedError where a feature is not there."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if getattr(ENABLED_FEATURES, name) is not wanted:
                raise NotThere(f"{function.__name__} needs {name} to be {wanted}, which it is not here.")
            return function(*args, **kwargs)

        return called

    decorate.__doc__ = f"Let a function raise NotImplementedError unless `ENABLED_FEATURES.{name}` is {wanted}."
    return decorate


needs_tensorrt_rtx = _needing("tensorrt_rtx")
needs_not_tensorrt_rtx = _needing("tensorrt_rtx", wanted=False)
needs_torch_tensorrt_runtime = _needing("torch_tensorrt_runtime")
needs_qdp_plugin = _needing("qdp_plugin")
needs_refit = _needing("refit")
needs_cross_compile = _needing("windows_cross_compile")
needs_trtllm_for_nccl = _needing("trtllm_for_nccl")
needs_native_collectives = _needing("native_trt_collectives")


def for_all_methods(
    decorator: Callable[[Callable[..., Any]], Callable[..., Any]], exclude: Collection[str] | None = None
) -> Callable[[type], type]:
    """A decorator of classes that decorates each of their own methods but those that are excluded, by name."""

    def decorate(kind: type) -> type:
        for name, item in list(vars(kind).items()):
            if callable(item) and name not in (exclude or ()):
                setattr(kind, name, decorator(item))
        return kind

    return decorate
