"""Options of Torch-TensorRT that do not exist here, and what to do instead: behind error messages and the docs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ABSENT: Mapping[tuple[str, ...], str] = MappingProxyType(
    {
        ("debug",): "dump_dir writes what each pass did, instead of log lines",
        ("device",): "engines are built for no particular device, and a compiled module is moved by .cuda()",
        ("hardware_compatible",): (
            "with TensorRT-RTX engines run on all GPU generations, unless compute_capabilities names some"
        ),
        ("version_compatible",): "an engine runs with the version that built it, elsewhere PyTorch runs the segment",
        ("timing_cache_path",): (
            "TensorRT-RTX times nothing while it builds; runtime_cache_path keeps the kernels that it compiles on the "
            "GPU machine"
        ),
        ("cache_built_engines", "reuse_cached_engines"): "a given cache_dir is both read and written",
        ("custom_engine_cache",): "cache_dir may be on a shared file system",
        (
            "immutable_weights",
            "make_refittable",
            "refit",
            "strip_engine_weights",
            "refit_identical_engine_weights",
        ): "engines hold their weights and are not refitted: compile again when they change",
        ("use_python_runtime",): "there is one runtime, in Python, behind one torch operator",
        ("lazy_engine_init",): "engines are always loaded when they first run, or by warm_up()",
        ("use_fast_partitioner",): "there is one partitioner, near-linear in the nodes",
        ("use_explicit_typing",): "networks are always strongly typed: a layer computes in the types of the graph",
        ("enable_autocast", "autocast_low_precision_type"): "enabled_precisions takes float16 or bfloat16",
        (
            "autocast_excluded_nodes",
            "autocast_excluded_ops",
            "autocast_max_output_threshold",
            "autocast_max_depth_of_reduction",
            "autocast_calibration_dataloader",
        ): "what stays in float32 is a fixed table, unless a pass of yours replaces lower.cast-precision",
        ("calibrator",): "there is no int8: enabled_precisions takes float16 or bfloat16",
        (
            "num_avg_timing_iters",
            "max_aux_streams",
            "tiling_optimization_level",
            "l2_limit_for_tiling",
        ): "TensorRT's defaults are used",
        ("sparse_weights",): "weights are taken as dense",
        (
            "engine_capability",
            "dla_core",
            "dla_sram_size",
            "dla_local_dram_size",
            "dla_global_dram_size",
            "allow_gpu_fallback",
        ): "engines are for GPUs, not for DLA or the safety runtime",
        ("enable_cross_compile_for_windows",): "engines are for Linux",
        ("offload_module_to_cpu",): "with TensorRT-RTX compiling needs no GPU memory",
        (
            "enable_resource_partitioning",
            "cpu_memory_budget",
        ): "the pass partition{max-segment-nodes=…} makes smaller engines",
        ("enable_experimental_decompositions",): (
            "graphs are decomposed to core ATen, except for operators that TensorRT takes whole"
        ),
        ("decompose_attention",): "attention is kept whole where the conditions of its converter hold",
        ("assume_dynamic_shape_support",): "every converter states its conditions, dynamic sizes included",
        ("use_distributed_mode_trace",): "engines are for one GPU",
    }
)
"""Groups of names, each with one clause."""


def instead_of(name: str) -> str | None:
    """What to do instead of an option of Torch-TensorRT; None if `name` is none, or exists here too."""
    return next((text for names, text in ABSENT.items() if name in names), None)
