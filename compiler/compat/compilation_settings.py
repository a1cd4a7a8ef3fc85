"""`CompilationSettings`: options of Torch-TensorRT in one object."""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import torch

from .arguments import default_folder
from .device import Device
from .enums import EngineCapability
from .enums import dtype as DType


def _precisions() -> set[DType]:
    return {DType.f32}


@dataclass
class CompilationSettings:
    """Options of `torch_tensorrt.compile` and their usual values, as attributes; see `trt_passes.Settings` for ours."""

    enabled_precisions: set[DType] = field(default_factory=_precisions)
    workspace_size: int = 0
    min_block_size: int = 5
    torch_executed_ops: Any = field(default_factory=set)
    pass_through_build_failures: bool = False
    max_aux_streams: int | None = None
    version_compatible: bool = False
    optimization_level: int | None = None
    use_python_runtime: bool | None = False
    truncate_double: bool = False
    use_fast_partitioner: bool = True
    enable_experimental_decompositions: bool = False
    device: Device = field(default_factory=Device._current_device)
    require_full_compilation: bool = False
    disable_tf32: bool = False
    assume_dynamic_shape_support: bool = False
    sparse_weights: bool = False
    engine_capability: EngineCapability = EngineCapability.STANDARD
    num_avg_timing_iters: int = 1
    dla_sram_size: int = 1048576
    dla_local_dram_size: int = 1073741824
    dla_global_dram_size: int = 536870912
    dryrun: bool | str = False
    hardware_compatible: bool = False
    timing_cache_path: str = ""
    runtime_cache_path: str = ""
    dynamic_shapes_kernel_specialization_strategy: str = "lazy"
    lazy_engine_init: bool = False
    cache_built_engines: bool = False
    reuse_cached_engines: bool = False
    use_explicit_typing: bool = True
    use_fp32_acc: bool = True
    refit_identical_engine_weights: bool = False
    strip_engine_weights: bool = False
    immutable_weights: bool = True
    enable_weight_streaming: bool = False
    enable_cross_compile_for_windows: bool = False
    tiling_optimization_level: str = "none"
    l2_limit_for_tiling: int = -1
    use_distributed_mode_trace: bool = False
    offload_module_to_cpu: bool = False
    enable_autocast: bool = False
    autocast_low_precision_type: torch.dtype | None = None
    autocast_excluded_nodes: Any = field(default_factory=set)
    autocast_excluded_ops: Any = field(default_factory=set)
    autocast_max_output_threshold: float = 512.0
    autocast_max_depth_of_reduction: int | None = None
    autocast_calibration_dataloader: Any = None
    enable_resource_partitioning: bool = False
    cpu_memory_budget: int | None = None
    dynamically_allocate_resources: bool = False
    decompose_attention: bool = False
    attn_bias_is_causal: bool = True

    def options(self) -> dict[str, Any]:
        """The options that are not what they usually are, for `compile`."""
        usual = _usual()
        return {name: value for name, value in vars(self).items() if value != usual.get(name)}


def settings_are_compatible(set_a: CompilationSettings, set_b: CompilationSettings) -> tuple[bool, set[str]]:
    """Whether engines that are built with two sets of options may stand for each other, and the options that differ."""
    differ = {name for name, value in vars(set_a).items() if value != vars(set_b)[name] and name in OF_ENGINES}
    return not differ, differ


OF_ENGINES = frozenset(
    {
        *("enabled_precisions", "max_aux_streams", "version_compatible", "optimization_level", "disable_tf32"),
        *("sparse_weights", "engine_capability", "hardware_compatible", "refit_identical_engine_weights"),
        *("strip_engine_weights", "immutable_weights", "enable_weight_streaming", "tiling_optimization_level"),
        *("l2_limit_for_tiling", "enable_autocast", "autocast_low_precision_type", "autocast_excluded_nodes"),
        *("autocast_excluded_ops", "autocast_max_output_threshold", "autocast_max_depth_of_reduction"),
        *("use_explicit_typing", "use_fp32_acc", "truncate_double", "attn_bias_is_causal", "decompose_attention"),
    }
)
"""The options that an engine depends on."""


def _usual() -> dict[str, Any]:
    return {
        item.name: item.default_factory() if item.default_factory is not MISSING else item.default
        for item in fields(CompilationSettings)
    }


def usual_value(name: str) -> Any:
    """The usual value of an option, which Torch-TensorRT calls by its name in capitals.

    Raises:
        AttributeError: there is no such option.
    """
    others = {
        "ENGINE_CACHE_DIR": default_folder("engine_cache"),
        "ENGINE_CACHE_SIZE": 5 << 30,
        "TIMING_CACHE_PATH": os.path.join(default_folder("engine_cache"), "timing_cache.bin"),
        "CUSTOM_ENGINE_CACHE": None,
        "CUDA_GRAPH_STRATEGY": "disabled",
        "DEBUG_LOGGING_DIR": default_folder("debug_logs"),
        "RUNTIME_CACHE_PATH": os.path.join(default_folder("runtime_cache"), "runtime_cache.bin"),
        "SUPPORTED_KERNEL_PRECISIONS": {DType.f32, DType.f16, DType.bf16, DType.i8, DType.f8},
        "default_device": Device._current_device,
    }
    if name in others:
        return others[name]
    found = _usual()
    if not name.isupper() or name.lower() not in found:
        raise AttributeError(f"there is no option {name.lower()!r} of Torch-TensorRT")
    return found[name.lower()]
