"""Small functions beside Torch-TensorRT's compilers: comparing results, and examples of inputs."""

from __future__ import annotations

import functools
import gc
import logging
import os
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from ..errors import did_you_mean
from ..tensorrt.loader import load
from .compilation_settings import CompilationSettings
from .device import Device
from .engine_caches import DiskEngineCache
from .enums import dtype as DType
from .input import Input
from .logs import LOGGER
from .mistakes import InvalidType, InvalidValue, NotPossible

COSINE_THRESHOLD = 0.99
"""From which cosine on results count as alike."""

DYNAMIC_DIM = -1
"""What stands for a size that varies."""

RTOL, ATOL = 5e-3, 5e-3


COMPLEX_TO_REAL_DTYPE = MappingProxyType({torch.complex64: torch.float32, torch.complex128: torch.float64})
COMPLEX_DTYPES = frozenset(COMPLEX_TO_REAL_DTYPE)
CPU_DEVICE = "cpu"


def _same(value: Any) -> Any:
    return value


def cosine_similarity(gt_tensor: torch.Tensor, pred_tensor: torch.Tensor) -> float:
    """The cosine of the angle between two tensors of one shape, as float32; 1.0 for two that are all zeros."""
    gt, pred = (tensor.flatten().to(torch.float32) for tensor in (gt_tensor, pred_tensor))
    if gt.equal(pred) or not (gt.any() or pred.any()):
        return 1.0
    return float(torch.nn.functional.cosine_similarity(gt, pred, dim=0, eps=1e-6).item())


def check_output_equal(output1: Any, output2: Any, rtol: float = RTOL, atol: float = ATOL) -> bool:
    """Whether two results have the same containers, shapes, types, and numbers that are close."""
    one, structure = pytree.tree_flatten(output1)
    other, twin = pytree.tree_flatten(output2)
    if structure != twin:
        return False
    return all(_close(a, b, rtol, atol) for a, b in zip(one, other, strict=True))


def _close(one: Any, other: Any, rtol: float, atol: float) -> bool:
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return bool(one == other)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.allclose(one, other.to(one.device), rtol, atol, equal_nan=True)


def prepare_inputs(inputs: Any, disable_memory_format_check: bool = False) -> Any:
    """The same containers with every tensor and number as an `Input`."""

    def prepared(leaf: Any) -> Any:
        if isinstance(leaf, int | float | bool):
            return Input.from_tensor(torch.tensor(leaf))
        if isinstance(leaf, torch.Tensor):
            return Input.from_tensor(leaf, disable_memory_format_check)
        if not isinstance(leaf, Input | None):
            raise InvalidValue(f"an input is a {type(leaf).__name__}: give tensors, numbers or Inputs, in containers.")
        return leaf

    return pytree.tree_map(prepared, inputs)


def get_torch_inputs(inputs: Any, device: Any, mode: str = "") -> Any:
    """The same containers with every `Input` as an example tensor on a device.

    Args:
        inputs: `Input`s and tensors in containers.
        device: where the examples are.
        mode: of `Input`s of varying sizes: "min_shape", "opt_shape" or "max_shape"; the usual one by default.
    """
    return pytree.tree_map(lambda leaf: get_torch_tensor(leaf, to_torch_device(device), mode), inputs)


def get_torch_tensor(input: Any, device: torch.device, mode: str = "") -> Any:
    """An `Input` as an example tensor on a device; a tensor there; anything else as it is. See `get_torch_inputs`."""
    if isinstance(input, Input):
        input = input.example_tensor((mode or "opt_shape") if input.is_dynamic else None)
    return input.to(device) if isinstance(input, torch.Tensor) else input


def parse_complex_tensor_structs(inputs: Any, attribute_to_extract: str, apply_fn: Callable[[Any], Any] = _same) -> Any:
    """The same containers with an attribute of every `Input` or tensor, to which a function may be applied."""
    return pytree.tree_map(lambda leaf: apply_fn(getattr(leaf, attribute_to_extract, None)), inputs)


def input_is_dynamic(inputs: Any) -> bool:
    """Whether sizes of any `Input` vary."""
    return any(isinstance(leaf, Input) and leaf.is_dynamic for leaf in pytree.tree_leaves(inputs))


def to_torch_device(device: Any) -> torch.device:
    """The torch.device of a `Device`, text or torch.device; that of the current GPU for None."""
    if isinstance(device, torch.device):
        return device
    if isinstance(device, str) and device.partition(":")[0] not in ("gpu", "dla"):
        return torch.device(device)
    found: torch.device = Device._from(device).to(torch.device)
    return found


def to_torch_tensorrt_device(device: Any) -> Device:
    """The `Device` of a text, torch.device or `Device`; that of the current GPU for None."""
    return Device._from(device)


class Frameworks(Enum):
    """Whose data types are meant."""

    NUMPY = "numpy"
    TORCH = "torch"
    TRT = "trt"


def unified_dtype_converter(dtype: Any, to: Any) -> Any:
    """A data type as PyTorch, TensorRT or NumPy has it.

    Args:
        dtype: of any of them.
        to: one of `Frameworks`, or torch.dtype, numpy.dtype or tensorrt.DataType.

    Raises:
        TypeError: it has no counterpart there.
    """
    if isinstance(to, Frameworks):
        kinds = {Frameworks.NUMPY: np.dtype, Frameworks.TORCH: torch.dtype}
        wanted = kinds.get(to) or load().module.DataType
    else:
        wanted = to
    found = DType._from(dtype).try_to(wanted)
    if found is None:
        raise InvalidType(f"{dtype} has no counterpart that is a {getattr(wanted, '__name__', wanted)}.")
    return found.type if to is Frameworks.NUMPY else found


def get_output_metadata(gm: torch.fx.GraphModule) -> list[Any]:
    """What tracing recorded of the results of a graph: the `meta` of the nodes that it returns."""
    output = next(iter(gm.graph.find_nodes(op="output")))
    return [node.meta for node in output.all_input_nodes]


def get_model_device(module: Any) -> torch.device:
    """The device of a model's first tensor; that of the current GPU if it has none."""
    tensors = [*module.parameters(), *module.buffers()] if isinstance(module, torch.nn.Module) else []
    return tensors[0].device if tensors else to_torch_device(None)


def deallocate_module(module: torch.nn.Module) -> None:
    """Move a module to the CPU, and give the GPU memory that it had back."""
    module.cpu()
    release_host_and_device_memory()


def release_host_and_device_memory() -> None:
    """Give memory back that nothing uses, of the GPU and of Python."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def get_cpu_memory_usage() -> float:
    """MiB of memory that this process has now; 0.0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def use_python_runtime_parser(use_python_runtime: bool | None = None) -> bool:
    """What was chosen, False by default: there is one runtime here, which files can hold."""
    return bool(use_python_runtime)


def parse_dynamo_kwargs(kwargs: Mapping[str, Any]) -> tuple[CompilationSettings, Any]:
    """Options by name as `CompilationSettings`, and the engine cache that they ask for, or None.

    Raises:
        TypeError: there is no such option.
    """
    chosen = dict(kwargs.get("options") or kwargs)
    kept = {name: chosen.pop(name, None) for name in ("engine_cache_dir", "engine_cache_size", "custom_engine_cache")}
    known = CompilationSettings.__dataclass_fields__
    for name in chosen:
        if name not in known:
            raise InvalidType(f"there is no option {name!r} of Torch-TensorRT.{did_you_mean(name, known)}")
    settings = CompilationSettings(**{name: value for name, value in chosen.items() if value is not None})
    if not (settings.cache_built_engines or settings.reuse_cached_engines):
        return settings, None
    size = kept["engine_cache_size"] or 5 << 30
    return settings, kept["custom_engine_cache"] or DiskEngineCache(kept["engine_cache_dir"], size)


def check_module_output(new_module: Any, refitted_module: Any, arg_inputs: Any, kwarg_inputs: Any = None) -> bool:
    """Whether two modules give results that are close, on some inputs."""
    device = get_model_device(new_module) if torch.cuda.is_available() else torch.device(CPU_DEVICE)
    args, kwargs = get_torch_inputs((list(arg_inputs or ()), dict(kwarg_inputs or {})), device)
    with torch.no_grad():
        return check_output_equal(new_module(*args, **kwargs), refitted_module(*args, **kwargs), 5e-2, 5e-2)


def set_log_level(parent_logger: logging.Logger, level: Any) -> None:
    """Show messages of that level and more severe ones, of a logger and of this package's."""
    parent_logger.setLevel(level)
    LOGGER.setLevel(level)


def to_torch(value: Any, device: Any = None) -> torch.Tensor:
    """A number, an array of NumPy's or a tensor as a tensor on a device, the CPU by default."""
    return torch.as_tensor(value, device=to_torch_device(device) if device is not None else torch.device("cpu"))


def req_torch_version(min_torch_version: str = "2.dev") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let the decorated function raise an error where PyTorch is older than a version."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if torch.torch_version.TorchVersion(torch.__version__) < min_torch_version:
                raise NotPossible(f"{function.__name__} needs PyTorch {min_torch_version}: upgrade torch.")
            return function(*args, **kwargs)

        return called

    return decorate
