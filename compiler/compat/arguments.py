"""Arguments as Torch-TensorRT takes them, as this package takes them."""

from __future__ import annotations

import getpass
import math
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ..errors import UserError
from .attention import ATTENTION
from .device import Device
from .enums import DeviceType
from .enums import dtype as DType
from .input import Input
from .mistakes import InvalidValue

_CASTS = (torch.float16, torch.bfloat16)


def declared(values: Any) -> Any:
    """The same arguments, in the same containers, with each `Input` as `trt_passes.Input`."""
    return pytree.tree_map(lambda leaf: leaf.declared() if isinstance(leaf, Input) else leaf, values)


def positional(inputs: Any, arg_inputs: Any = None, input_signature: Any = None) -> tuple[Any, ...] | None:
    """The positional arguments that a model is compiled with, given by one of three names.

    Args:
        inputs, arg_inputs: a sequence of arguments; one tensor or `Input` stands for a sequence of it.
        input_signature: likewise, of which every item is an argument, which may be a container.

    Raises:
        ValueError: more than one is given.
    """
    given = {"inputs": inputs, "arg_inputs": arg_inputs, "input_signature": input_signature}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise InvalidValue(f"{' and '.join(names)} are names of one argument: give one of them.")
    if not names:
        return None
    value = given[names[0]]
    if isinstance(value, torch.Tensor | Input | int | float) or not isinstance(value, Sequence):
        value = (value,)
    return tuple(declared([Input(item) if _is_shape(item) else item for item in value]))


def _is_shape(item: Any) -> bool:
    """Whether an input is given as its shape."""
    sizes = isinstance(item, list | tuple) and all(type(size) is int for size in item)
    return isinstance(item, torch.Size) or (sizes and len(item) > 0)


def named(kwarg_inputs: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The keyword arguments that a model is compiled with; none for an empty dict."""
    if kwarg_inputs is not None and not isinstance(kwarg_inputs, Mapping):
        raise InvalidValue(f"kwarg_inputs is a {type(kwarg_inputs).__name__}: give a dict of arguments by name.")
    return {key: declared(value) for key, value in kwarg_inputs.items()} if kwarg_inputs else None


def translated(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of Torch-TensorRT's `compile`, as those of `trt_passes.compile`.

    Warns:
        UserWarning: what is asked for is done otherwise here.

    Raises:
        UserError: it cannot be done.
    """
    found = {_RENAMED.get(name, name): value for name, value in options.items() if value is not None}
    if found.get("runtime_cache_path") == "":
        del found["runtime_cache_path"]
    size = found.get("min_block_size", DEFAULT_BLOCK_SIZE)
    if isinstance(size, float) and math.isinf(size):
        found["dryrun"] = found.get("dryrun") or True  # no graph has so many operators
        size = DEFAULT_BLOCK_SIZE
    found["min_block_size"] = max(1, int(size)) if isinstance(size, int | float) else size
    if isinstance(limit := found.get("workspace_size"), int) and 0 < limit < LEAST_WORKSPACE:
        _say(f"workspace_size is {limit}, in which TensorRT-RTX finds no kernels: {LEAST_WORKSPACE} is used.")
        found["workspace_size"] = LEAST_WORKSPACE
    precisions = _precisions(found)
    if precisions is not None:
        found["enabled_precisions"] = precisions
    if "device" in found:
        found["device"] = _device(found["device"])
    found.update(_cache(found))
    _say_of_threshold(found)
    if found.pop("enable_resource_partitioning", False) and found.get("cpu_memory_budget") is None:
        found["cpu_memory_budget"] = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    kept = [item for name in _EXCLUDED for item in found.pop(name, None) or ()]
    if kept:
        found["keep_in_float32"] = kept
    if found.get("torch_executed_ops"):
        found["torch_executed_ops"] = _with_other_forms(found["torch_executed_ops"])
    if found.pop("decompose_attention", False):
        given = found.get("converters") or ()
        found["converters"] = (ATTENTION, *(given if isinstance(given, list | tuple) else (given,)))
    if isinstance(found.get("dryrun"), str | os.PathLike):
        found["dryrun"] = True
    return found


DEFAULT_BLOCK_SIZE = 3
"""What 5 is there: a linear layer, or a convolution with its normalization, is one operator here."""


LEAST_WORKSPACE = 32 << 20
"""Bytes below which the builder of TensorRT-RTX 1.6.1 refuses even small layers (measured: it needs 8 to 16 MiB)."""


_EXCLUDED = ("autocast_excluded_nodes", "autocast_excluded_ops", "keep_in_float32")

_FORMS = (
    ("aten.softmax", "aten._softmax"),
    ("aten.log_softmax", "aten._log_softmax"),
    ("aten.max_pool2d", "aten.max_pool2d_with_indices"),
    ("aten.layer_norm", "aten.native_layer_norm"),
    ("aten.group_norm", "aten.native_group_norm"),
    ("aten.batch_norm", "aten._native_batch_norm_legit_no_training"),
    ("aten.linear", "aten.addmm"),
    ("aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.convolution", "aten._convolution"),
    ("aten.view", "aten.reshape", "aten._unsafe_view"),
)
"""Operators that do the same work: which of them a graph has depends on which are decomposed."""


def _with_other_forms(operators: Any) -> list[Any]:
    """Operators that are to stay in PyTorch, with the forms in which a graph here may have them instead."""
    named = [operators] if isinstance(operators, str) else list(operators)
    texts = {str(item).replace("torch.ops.", "").replace("::", ".") for item in named}
    whole = {text if text.count(".") < 2 else text.rpartition(".")[0] for text in texts}
    more = {other for forms in _FORMS if whole & set(forms) for other in forms if other not in whole}
    return [*named, *sorted(more)]


_RENAMED = {"capability": "engine_capability", "refit": "make_refittable", "custom_engine_cache": "engine_cache"}
"""Options of the TorchScript front end, and old names, by what they are called elsewhere."""


def report_file(options: Mapping[str, Any]) -> Path | None:
    """The file that a dry run writes what it finds to: the option `dryrun` may be its path."""
    asked = options.get("dryrun")
    return Path(asked) if isinstance(asked, str | os.PathLike) else None


def _precisions(options: dict[str, Any]) -> set[torch.dtype] | None:
    """The precisions that are asked for, with what autocast is asked to cast to; None if nothing is said."""
    given = options.pop("enabled_precisions", None)
    low = options.pop("autocast_low_precision_type", None)
    if options.pop("enable_autocast", False) and low is not None:
        given = {*(given or ()), low}
    if given is None:
        return None
    items = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    wanted = {kind for kind in (DType._from(_named(item)).try_to(torch.dtype) for item in items) if kind is not None}
    casts = [kind for kind in _CASTS if kind in wanted]
    if len(casts) > 1:
        _say("enabled_precisions has float16 and bfloat16, and a network has one of them here: float16 is used.")
    others = wanted - {torch.float32, torch.float64, *_CASTS}
    if others:
        texts = ", ".join(sorted(map(str, others)))
        _say(f"enabled_precisions has {texts}, in which a model computes if it is quantized, and else not.")
    return {torch.float32, *casts[:1]}


def _say_of_threshold(options: dict[str, Any]) -> None:
    """Leave out what autocast is told of the sizes of outputs, where it has no data to find them on, or is not on."""
    names = ("autocast_calibration_dataloader", "autocast_max_output_threshold")
    casts = set(_CASTS) & set(options.get("enabled_precisions") or ())
    data, threshold = (options.get(name) for name in names)
    if data is not None and casts:
        options.setdefault(names[1], 512.0)
        return
    for name in names:
        options.pop(name, None)
    if casts and threshold not in (None, 512):
        _say(
            f"autocast_max_output_threshold is {threshold}, and there are no outputs to hold it against: give "
            "autocast_calibration_dataloader too."
        )


def _named(item: Any) -> Any:
    """The type that a text such as "fp16" names; anything else as it is."""
    if isinstance(item, str):
        found = DType.__members__.get(item.removeprefix("torch."))
        if found is None:
            raise UserError(f"enabled_precisions contains {item!r}: give types such as torch.float16.")
        return found
    return item


def _device(value: Any) -> str:
    """The text of a device, which the table of options takes or refuses."""
    if value is None:
        return "none"
    if isinstance(value, torch.device) and value.type == "cpu":
        return "cpu"
    device = Device._from(value)
    return str(device) if device.device_type is DeviceType.DLA else f"cuda:{device.gpu_id}"


def _cache(options: dict[str, Any]) -> dict[str, Any]:
    """Where engines are kept: nowhere, unless they are to be written or read."""
    asked = [name for name in ("cache_built_engines", "reuse_cached_engines") if name in options]
    given = [options.pop(name) for name in asked]
    wanted = any(given)
    if asked and not wanted:
        for name in ("engine_cache_dir", "engine_cache_size", "engine_cache"):
            options.pop(name, None)
    if wanted and not options.keys() & {"engine_cache_dir", "cache_dir", "engine_cache"}:
        return {"engine_cache_dir": default_folder("engine_cache")}
    return {}


def default_folder(purpose: str) -> str:
    """The folder of the user's where what has no other place is kept."""
    return os.path.join(tempfile.gettempdir(), f"trt_passes_{getpass.getuser()}", purpose)


def _say(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=4)
