"""Every option of Torch-TensorRT's `compile`: what it is called here, and what to do where it is not."""

from __future__ import annotations

import enum
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import UserError


@dataclass(frozen=True)
class ForeignOption:
    """An option of Torch-TensorRT that is no field of `Settings`.

    Attributes:
        granted: a pattern of the values that ask for nothing but what is done here anyway.
        advice: what is the case here, and what to do instead.
        refused: whether other values are an error: the result would not be what the user needs. Else they are a
            warning.
        here: the option of `Settings` to use instead, if there is one.
    """

    granted: str
    advice: str
    refused: bool = False
    here: str = ""


_OFF, _ON, _ANY = r"false|none|0|", r"true|none|1", r".*"
_NOTHING = r"none|set\(\)|\[\]|\{\}|\(\)"
_NO_DLA = "there is no DLA here"
_TIMING = "TensorRT's default is used"

FOREIGN_OPTIONS: Mapping[str, ForeignOption] = MappingProxyType(
    {
        "use_explicit_typing": ForeignOption(
            _ANY, "networks are always strongly typed, and enabled_precisions adds casts to the graph"
        ),
        "enable_autocast": ForeignOption(
            _OFF, "give enabled_precisions={torch.float16}", refused=True, here="enabled_precisions"
        ),
        "autocast_low_precision_type": ForeignOption(
            "none", "give enabled_precisions={torch.float16}", refused=True, here="enabled_precisions"
        ),
        "autocast_excluded_nodes": ForeignOption(
            _NOTHING, "give keep_in_float32, with regular expressions too", refused=True, here="keep_in_float32"
        ),
        "autocast_excluded_ops": ForeignOption(_NOTHING, "give keep_in_float32", refused=True, here="keep_in_float32"),
        "attn_bias_is_causal": ForeignOption(_ANY, "a mask is added as it is, whatever it holds"),
        "hardware_compatible": ForeignOption(
            _OFF,
            "engines of TensorRT-RTX run on every GPU generation unless compute_capabilities names some, those of "
            "TensorRT on the kind of GPU that built them",
            here="compute_capabilities",
        ),
        "version_compatible": ForeignOption(
            _OFF,
            "an engine runs with the version of TensorRT that built it, elsewhere its segment runs in PyTorch",
        ),
        "enable_cross_compile_for_windows": ForeignOption(
            _OFF, "engines of TensorRT-RTX are portable to Windows, those of TensorRT are not"
        ),
        "device": ForeignOption(
            r"none|cuda(:\d+)?", "an engine runs on the GPU that its inputs are on, and nowhere else", refused=True
        ),
        "engine_capability": ForeignOption(
            r"(\w+\.)?(standard|default)|none", "there is only the standard runtime here", refused=True
        ),
        "dla_core": ForeignOption("none|-1", _NO_DLA, refused=True),
        "dla_sram_size": ForeignOption("none|1048576", _NO_DLA),
        "dla_local_dram_size": ForeignOption("none|1073741824", _NO_DLA),
        "dla_global_dram_size": ForeignOption("none|536870912", _NO_DLA),
        "sparse_weights": ForeignOption(_OFF, "kernels for sparse weights are not used here"),
        "num_avg_timing_iters": ForeignOption("none|1", _TIMING),
        "num_min_timing_iters": ForeignOption("none|[12]", _TIMING),
        "max_aux_streams": ForeignOption("none", _TIMING),
        "optimization_profiles": ForeignOption(
            _NOTHING,
            "give each input its ranges, tp.Input(shapes=[(min, opt, max), …]), also as Input(profiles=[…])",
            refused=True,
        ),
        "max_batch_size": ForeignOption("none|0", "the sizes that inputs declare are what an engine takes"),
        "tiling_optimization_level": ForeignOption("none", _TIMING),
        "l2_limit_for_tiling": ForeignOption("none|-1", _TIMING),
        "timing_cache_path": ForeignOption(
            "none|",
            "TensorRT-RTX times nothing while it builds; runtime_cache_path keeps its kernels",
            here="runtime_cache_path",
        ),
        "cache_built_engines": ForeignOption(
            _OFF, "give cache_dir, a folder that is both read and written", here="cache_dir"
        ),
        "reuse_cached_engines": ForeignOption(
            _OFF, "give cache_dir, a folder that is both read and written", here="cache_dir"
        ),
        "immutable_weights": ForeignOption(_ON, "False is mutable_weights=True", here="mutable_weights"),
        "make_refittable": ForeignOption(_OFF, "True is mutable_weights=True", here="mutable_weights"),
        "strip_engine_weights": ForeignOption(
            _OFF,
            "True is mutable_weights=True: engines hold no weights then, and the file has them once",
            here="mutable_weights",
        ),
        "refit_identical_engine_weights": ForeignOption(_ANY, "weights that are equal are one"),
        "lazy_engine_init": ForeignOption(
            _ANY, "an engine is loaded when it first runs; warm_up does it earlier, see Saving and running"
        ),
        "offload_module_to_cpu": ForeignOption(_ANY, "compiling needs no GPU memory with TensorRT-RTX"),
        "dynamically_allocate_resources": ForeignOption(_OFF, "each execution context keeps the memory that it needs"),
        "enable_resource_partitioning": ForeignOption(
            _OFF, "give cpu_memory_budget, the bytes that building an engine may take", here="cpu_memory_budget"
        ),
        "use_python_runtime": ForeignOption(
            _ANY, "there is one runtime, in Python behind a torch operator; tp.save and .ts files work with it"
        ),
        "use_fast_partitioner": ForeignOption(_ANY, "there is one partitioner, see docs/partitioning.md"),
        "enable_experimental_decompositions": ForeignOption(
            _ANY, "the decompositions are those of core ATen, except of operators that TensorRT takes whole"
        ),
        "decompose_attention": ForeignOption(
            _OFF, "attention is kept whole where its converter's conditions hold; True is done with the import above"
        ),
        "assume_dynamic_shape_support": ForeignOption(
            _ANY, "every converter states its conditions, dynamic sizes included, see docs/operators.md"
        ),
        "use_distributed_mode_trace": ForeignOption(
            _ANY, "graphs with distributed tensors are taken apart without being asked, and keep their collectives"
        ),
        "debug": ForeignOption(
            _OFF,
            "nothing is printed: give dump_dir for what every pass did, or see the logger trt_passes",
            here="dump_dir",
        ),
        "allow_shape_tensors": ForeignOption(_ANY, "inputs that hold sizes need no permission"),
        "calibrator": ForeignOption(
            "none", "quantize the model itself: TensorRT does what its operators say", refused=True
        ),
    }
)
"""Options without a field of `Settings`, by their names in Torch-TensorRT."""

SHARED_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "enabled_precisions": "networks are strongly typed: `{torch.float16}` casts where it is safe, as the pass "
        "`lower.cast-precision` shows",
        "autocast_max_depth_of_reduction": "the numbers that a product adds up for one result",
        "autocast_max_output_threshold": "held against what nodes give on `autocast_calibration_dataloader`, 512 by "
        "default as there; against nothing without one",
        "autocast_calibration_dataloader": "a DataLoader, or batches; labels behind the model's inputs are left out",
        "use_fp32_acc": "on by default: products of float16 matrices are then as exact as PyTorch's",
        "truncate_double": "`truncate_long_and_double` is another name for it; int64 is never truncated",
        "min_block_size": "5, as there; 3 by default with the import above, as a linear layer is one operator here",
        "torch_executed_ops": 'operators, or names such as `"aten.softmax"`',
        "torch_executed_modules": "classes, class names or dotted paths",
        "require_full_compilation": "the error has the reasons; `min_block_size` is 1 then by default",
        "pass_through_build_failures": "without it the culprit alone goes to PyTorch",
        "dryrun": "the result runs in PyTorch; `report` says what would be built. For files use `dump_dir`",
        "workspace_size": "of less than 32 MiB, in which TensorRT-RTX finds no kernels, 32 MiB are made",
        "optimization_level": "",
        "disable_tf32": "",
        "cpu_memory_budget": "segments with weights of more than a quarter of it are split",
        "engine_cache_dir": "a given folder is both read and written",
        "engine_cache_size": "",
        "custom_engine_cache": "an object with `save(key, blob)` and `load(key)`, such as a `BaseEngineCache`",
        "enable_weight_streaming": "`weight_streaming_budget` sets the bytes",
        "runtime_cache": "a path; see `RuntimeSettings` for an object",
        "dynamic_shapes_kernel_specialization_strategy": "",
    }
)
"""Options that mean the same here, and what is to be known of them; their names may be other ones of a field."""


def asks_for_mutable_weights(name: str, value: Any) -> bool:
    """Whether an option of Torch-TensorRT asks for what `mutable_weights` does."""
    off = str(value).strip().lower() in ("false", "0")
    return (name == "immutable_weights" and off) or (
        name in ("make_refittable", "strip_engine_weights") and str(value).strip().lower() in ("true", "1")
    )


def take_foreign(name: str, value: Any, *, cached: bool) -> bool:
    """Whether an option is one of Torch-TensorRT's, which need not be set here.

    Args:
        name, value: the option.
        cached: whether `cache_dir` is given, which is what the options about an engine cache ask for.

    Warns:
        UserWarning: it asks for what is not done here.

    Raises:
        UserError: the result would not be what it asks for.
    """
    option = FOREIGN_OPTIONS.get(name)
    if option is None:
        return False
    text = (value.name if isinstance(value, enum.Enum) else str(value)).strip().lower()
    if re.fullmatch(option.granted, text, re.DOTALL) or (
        cached and name in ("cache_built_engines", "reuse_cached_engines")
    ):
        return True
    if option.refused:
        raise UserError(f"option {name!r} of Torch-TensorRT is {value!r}, which is not possible here: {option.advice}.")
    warnings.warn(f"option {name!r} of Torch-TensorRT has no effect here: {option.advice}.", UserWarning, stacklevel=2)
    return True
