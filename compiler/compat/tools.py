"""Small functions beside Torch-TensorRT's compilers: comparing results, and examples of inputs."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .device import Device
from .enums import dtype as DType
from .input import Input
from .logs import LOGGER
from .mistakes import InvalidType, NotPossible

COSINE_THRESHOLD = 0.99
"""From which cosine on results count as alike."""

DYNAMIC_DIM = -1
"""What stands for a size that varies."""

RTOL, ATOL = 5e-3, 5e-3


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
        return leaf

    return pytree.tree_map(prepared, inputs)


def get_torch_inputs(inputs: Any, device: Any, mode: str = "") -> Any:
    """The same containers with every `Input` as an example tensor on a device.

    Args:
        inputs: `Input`s and tensors in containers.
        device: where the examples are.
        mode: of `Input`s of varying sizes: "min_shape", "opt_shape" or "max_shape"; the usual one by default.
    """
    place = to_torch_device(device)

    def example(leaf: Any) -> Any:
        if isinstance(leaf, Input):
            leaf = leaf.example_tensor((mode or "opt_shape") if leaf.is_dynamic else None)
        return leaf.to(place) if isinstance(leaf, torch.Tensor) else leaf

    return pytree.tree_map(example, inputs)


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


def unified_dtype_converter(kind: Any, to: Any) -> Any:
    """A data type as PyTorch, TensorRT or NumPy has it: `to` is torch.dtype, numpy.dtype or tensorrt.DataType."""
    found = DType._from(kind).try_to(to)
    if found is None:
        raise InvalidType(f"{kind} has no counterpart that is a {getattr(to, '__name__', to)}.")
    return found


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
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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
