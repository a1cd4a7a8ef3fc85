"""`Settings`: the one list of options behind the Python API, the command line and the docs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from .errors import UserError, did_you_mean
from .ir.option_values import (
    batches,
    boolean,
    byte_count,
    capabilities,
    check,
    names,
    one_of,
    optional,
    path,
    patterns,
    plugins,
    precisions,
    seconds,
    store,
    tolerance,
    tuning,
    whole_number,
)

if TYPE_CHECKING:  # `trt-passes run --help` lists the options without waiting for PyTorch
    import torch

    from .ir.check import Check
    from .ir.tuning import Tuning

Executor = Literal["auto", "tensorrt", "reference", "pytorch"]
KernelSpecialization = Literal["lazy", "eager", "none"]
Preset = Literal["fast", "exact"]
Islands = Literal["eager", "inductor"]
QuantisedWeights = Literal["fast", "small"]
QuantisedProducts = Literal["fast", "engines"]

DEFAULT_BLOCK_SIZE = 5
"""Op nodes that are worth an engine, where `min_block_size` is not given; one that does the work of many counts as
many."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "truncate_long_and_double": "truncate_double",
        "engine_cache_dir": "cache_dir",
        "engine_cache_size": "cache_size",
        "custom_engine_cache": "engine_cache",
        "runtime_cache": "runtime_cache_path",
        "autocast_max_depth_of_reduction": "max_depth_of_reduction",
        "autocast_max_output_threshold": "max_half_output",
        "autocast_calibration_dataloader": "calibration",
    }
)
"""Other names that an option may be given by, and the name it has here."""

_PLACES = frozenset({"dump_dir", "cache_dir", "runtime_cache_path"})
_OBJECTS = frozenset({"calibration", "check", "converters", "engine_cache", "tuning"})


def _option(default: Any, doc: str) -> Any:
    if callable(default):
        return field(default_factory=default, metadata={"doc": doc})
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class Settings:
    """Options of a compilation: arguments of `compile`, and `--set name=value` of `trt-passes run`."""

    min_block_size: int | None = _option(
        None,
        "Smallest number of op nodes that is worth an engine of its own; smaller regions stay in PyTorch. None counts "
        "work: 5 op nodes, or one that does as much as many, such as a recurrent layer, a loop or a large product.",
    )
    torch_executed_ops: frozenset[str] = _option(
        frozenset, 'Operators that stay in PyTorch, such as "aten.softmax" (all overloads) or "aten.sum.dim_IntList".'
    )
    torch_executed_modules: frozenset[str] = _option(
        frozenset,
        "Modules that stay in PyTorch, with all they contain: a dotted path such as layers.0, or a class name.",
    )
    enabled_precisions: frozenset[torch.dtype] = _option(
        lambda: frozenset({"float32"}),
        "Precisions that computations may use: {float32}, or with float16 or bfloat16 to cast where it is safe.",
    )
    keep_in_float32: frozenset[str] = _option(
        frozenset,
        "What enabled_precisions leaves in float32: operators such as aten.softmax, modules (a dotted path or a class "
        "name) with all they contain, and regular expressions for whole names of nodes.",
    )
    max_depth_of_reduction: int | None = _option(
        None, "The most numbers that a product in half precision may add up for one result; None is no limit."
    )
    calibration: Any = _option(
        None,
        "Batches of the model's inputs, such as a DataLoader: tensors, tuples of arguments, or dicts of them. What "
        "half precision cannot hold on one of them stays in float32.",
    )
    max_half_output: float | None = _option(
        None,
        "What has larger numbers than that on `calibration`, or on the inputs of `check`, stays in float32; None is "
        "what the type can hold.",
    )
    truncate_double: bool = _option(
        False,
        "Compute float64 tensors in float32; inputs and outputs keep their types. Also: truncate_long_and_double.",
    )
    require_full_compilation: bool = _option(
        False,
        "Raise, with the reasons, unless all becomes one engine; min_block_size is 1 then by default.",
    )
    disable_tf32: bool = _option(False, "Do not let TensorRT use TF32 for float32 matrix products and convolutions.")
    use_fp32_acc: bool = _option(
        True,
        "Add up the terms of float16 matrix products in float32, as PyTorch does; False took 1 to 6 % less GPU time "
        "for most transformers on an H200, at 1.1 to 2.3 times the error. Attention itself is not concerned.",
    )
    workspace_size: int = _option(0, "Upper limit of TensorRT's workspace in bytes; 0 leaves TensorRT's default.")
    optimization_level: int | None = _option(
        None, "TensorRT's builder optimization level, 0 to 5 (6 on TensorRT-RTX); None leaves TensorRT's default."
    )
    cpu_memory_budget: int | None = _option(
        None,
        "Bytes of host memory that building one engine may take: segments with weights of more than a quarter of that "
        "are split. None is no limit.",
    )
    compute_capabilities: tuple[str, ...] = _option(
        (), 'GPU generations that engines are built for, such as "8.9" (TensorRT-RTX only); empty means portable.'
    )
    dryrun: bool = _option(False, "Stop after partition: report what would go to TensorRT without building engines.")
    executor: Executor = _option(
        "auto",
        "What runs a segment: auto (TensorRT if it can run here, else PyTorch, with a warning), tensorrt, reference, "
        "pytorch.",
    )
    pass_through_build_failures: bool = _option(
        False, "Raise when a segment cannot be converted or built, instead of leaving the culprit to PyTorch."
    )
    build_seconds: float = _option(
        300.0,
        "Seconds that one engine may take to build; then its segment is split, and both halves are built. 0 is no "
        "limit. Standard TensorRT, and TensorRT-RTX in a process that uses a GPU, are asked between two steps of their "
        "work only.",
    )
    strict: bool = _option(
        False,
        "Raise when one of the built-in lowering passes fails on a model, instead of compiling without it and saying "
        "so. The environment variable TRT_PASSES_STRICT=1 turns it on everywhere.",
    )
    cuda_graphs: bool = _option(
        False,
        "Replay the whole module, engines and PyTorch alike, as one CUDA graph per signature of inputs. A module that "
        "cannot be captured runs as usual, with one warning that says why.",
    )
    cuda_graph_limit: int = _option(
        8, "Captured signatures that `cuda_graphs` keeps; the least recently used one goes first."
    )
    reuse_outputs: bool = _option(
        False,
        "Let the next call on the same stream overwrite the results of this one, instead of allocating new tensors.",
    )
    runtime_cache_path: str | None = _option(
        None,
        "File in which TensorRT-RTX keeps the kernels that it compiled for this GPU, so that the next start does not; "
        "not saved with a model: give it to `load` too. Also: runtime_cache.",
    )
    dynamic_shapes_kernel_specialization_strategy: KernelSpecialization = _option(
        "lazy",
        "When TensorRT-RTX compiles kernels for the very shapes it meets: lazy (in the background), eager (at once), "
        "none (never).",
    )
    enable_weight_streaming: bool = _option(
        False, "Build engines whose weights can stay in host memory and be copied to the GPU when they are needed."
    )
    weight_streaming_budget: int | None = _option(
        None,
        "Bytes of GPU memory per engine for weights that can be streamed; None leaves the choice to TensorRT. Needs "
        "enable_weight_streaming.",
    )
    converters: tuple[Any, ...] = _option(
        tuple,
        "Converters and decompositions of your own, see Adding a converter: what tp.converter and tp.decomposition "
        "made, or names of modules that have such.",
    )
    mutable_weights: frozenset[str] = _option(
        frozenset,
        "Weights that may change after compiling: true for all parameters and buffers of floating point, or names and "
        'patterns such as "*.lora_*". They are inputs of the engines, shared with the model, so that load_state_dict '
        "and the like take effect at the next call; engines cannot fold or rearrange them in advance.",
    )
    cache_dir: str | None = _option(
        None, "Folder of built engines that compilations share; made if it is missing. Also: engine_cache_dir."
    )
    cache_size: int = _option(
        5 << 30,
        "Bytes of engines that `cache_dir` holds; the least recently used go first. Also: engine_cache_size.",
    )
    islands: Islands = _option(
        "eager",
        "What runs the operators between engines: PyTorch as it is (eager), or compiled by Inductor, on each machine "
        "when they are called first, and into files that are saved (inductor); where that fails, eager.",
    )
    tuning: Tuning | None = _option(
        None,
        "What variants of operators took on a GPU: a file that `tp.tune` wrote, or a `tp.Tuning`. The best are taken, "
        "on any machine; what was not measured keeps its default.",
    )
    tune: bool = _option(
        False,
        "Measure the variants of the model's operators on this GPU first, as `tp.tune` does, and compile with the "
        "best; with `tuning`, only what that lacks.",
    )
    preset: Preset | None = _option(
        None,
        "Which variants of operators to prefer: fast, or exact. None takes defaults and, of those measured, the "
        "fastest whose error is at most twice that of PyTorch.",
    )
    quantised_weights: QuantisedWeights = _option(
        "fast",
        "Weights in few bits whose products would take longer than with floats: fast dequantises them when the model "
        "is loaded, so that they are small in files and engines only; small leaves them so in GPU memory, too.",
    )
    quantised_products: QuantisedProducts = _option(
        "fast",
        "Products in few bits for which PyTorch has a faster kernel than TensorRT, on what was measured: fast leaves "
        "them to it where `cuda_graphs` make one graph of all, engines keeps them in engines.",
    )
    max_error: float | None = _option(
        None, "Largest relative error of the variants that are taken from a tuning; the most exact where none has less."
    )
    check: Check | None = _option(
        None,
        "Compare the compiled model with the model, and warn where they differ by more than `tolerance`: a list of "
        "arguments, a function metric(expected, found), a tp.Check of both, or True for the examples given.",
    )
    tolerance: float | None = _option(
        None,
        "What `check` allows: the relative L2 distance of a result, or what the metric gives; None is 1e-3 for "
        "float32, 1e-2 for float16 and 5e-2 for bfloat16.",
    )
    partition: str | None = _option(
        None,
        "A partition.json of a dump, or the dump, whose segments are taken instead of being searched. It may be "
        "edited: segments, nodes that stay in PyTorch, the precision of nodes.",
    )
    engine_cache: Any = _option(
        None,
        "Where engines are kept instead of in a folder: an object with `save(key, blob)`, and `load(key)` that gives "
        "the bytes or None. Also: custom_engine_cache.",
    )
    dump_dir: str | None = _option(None, "Folder that receives what every pass did; new, empty, or an earlier dump.")

    def __reduce__(self) -> tuple[Any, ...]:
        # Converters and caches are objects that another process may not have; none of those that build asks for them.
        values = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in ("calibration", "converters", "engine_cache")
        }
        return _settings_of, (values,)

    def __new__(cls, *values: Any, **options: Any) -> Settings:
        unknown = [name for name in options if name not in cls.__dataclass_fields__]
        if unknown:
            raise UserError(f"unknown option {unknown[0]!r}.{did_you_mean(unknown[0], cls.__dataclass_fields__)}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, normalize in _NORMALIZERS.items():
            object.__setattr__(self, name, normalize(name, getattr(self, name)))
        if self.weight_streaming_budget is not None and not self.enable_weight_streaming:
            raise UserError(
                "option 'weight_streaming_budget' needs engines that stream weights: set enable_weight_streaming too."
            )

        if self.max_half_output is not None and self.calibration is None and self.check is None:
            raise UserError(
                "option 'max_half_output' is held against the results of nodes on given inputs: give calibration, or "
                "check."
            )

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Settings:
        """Settings from keyword arguments; an unknown name raises UserError with the closest match.

        A whole model is worth its engine, whatever its size, unless `min_block_size` is given too.
        """
        settings = cls().updated(options)
        if settings.require_full_compilation and "min_block_size" not in options:
            return settings.updated({"min_block_size": 1})
        return settings

    def updated(self, options: Mapping[str, Any]) -> Settings:
        """These settings with some replaced; names may be aliases, or options of Torch-TensorRT's that ask for nothing.

        See `compat.options` for those.
        """
        known = {item.name for item in fields(self)}
        cached = any(ALIASES.get(name, name) == "cache_dir" and value is not None for name, value in options.items())
        renamed: dict[str, Any] = {}
        for name, value in options.items():
            target = ALIASES.get(name, name)
            if target not in known:
                from .compat.options import asks_for_mutable_weights, take_foreign

                if asks_for_mutable_weights(name, value):
                    renamed["mutable_weights"] = True
                    continue
                if take_foreign(name, value, cached=cached):
                    continue
                raise UserError(f"unknown option {name!r}.{did_you_mean(name, [*known, *ALIASES])}")
            if target in renamed:
                raise UserError(f"option {target!r} is given twice, once by another name: give it once.")
            renamed[target] = value
        return replace(self, **renamed)

    @classmethod
    def from_texts(cls, texts: Iterable[str], defaults: Mapping[str, Any] = MappingProxyType({})) -> Settings:
        """Settings from command-line texts such as `min_block_size=3` (dashes count as underscores).

        Args:
            texts: of the command line.
            defaults: options that hold unless a text gives them.
        """
        options: dict[str, Any] = {}
        for text in texts:
            name, separator, value = text.partition("=")
            if not separator:
                raise UserError(f"--set {text!r} has no value: write --set {name}=VALUE.")
            name = name.strip().replace("-", "_")
            if ALIASES.get(name, name) in {ALIASES.get(key, key) for key in options}:
                raise UserError(f"--set names {name!r} twice: give it once.")
            options[name] = value.strip()
        given = {ALIASES.get(name, name) for name in options}
        left = {name: value for name, value in defaults.items() if ALIASES.get(name, name) not in given}
        return cls.from_options({**left, **options})

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order, sets sorted.

        Without the places of files, which do not change the result, and tensors and functions to compare it with.
        """
        left_out = _PLACES | _OBJECTS
        return {item.name: _to_json(getattr(self, item.name)) for item in fields(self) if item.name not in left_out}

    @property
    def block_floor(self) -> int:
        """Op nodes that an engine must have: `min_block_size`, or as many as count where that is not given."""
        return DEFAULT_BLOCK_SIZE if self.min_block_size is None else self.min_block_size

    @property
    def raises_on_failed_pass(self) -> bool:
        """Whether a failed lowering pass ends the compilation: `strict`, or the environment, says so."""
        return self.strict or os.environ.get("TRT_PASSES_STRICT", "") == "1"

    @classmethod
    def documentation(cls) -> tuple[tuple[str, str, str, str], ...]:
        """Name, type, default and meaning of every option, for `--help` and the docs."""
        return tuple(
            (item.name, str(item.type), str(_to_json(_default_of(item))), item.metadata["doc"]) for item in fields(cls)
        )


def _settings_of(values: Mapping[str, Any]) -> Settings:
    return Settings(**values)


def _default_of(item: Field[Any]) -> Any:
    """A field's default as it is declared, which may be a text that becomes a value of PyTorch's."""
    return item.default if item.default_factory is MISSING else item.default_factory()


def _to_json(value: Any) -> Any:
    if isinstance(value, frozenset | set):
        return sorted(_to_json(item) for item in value)
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    import torch

    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value


_NORMALIZERS: Mapping[str, Any] = MappingProxyType(
    {
        "min_block_size": optional(whole_number(1)),
        "torch_executed_ops": names,
        "torch_executed_modules": names,
        "enabled_precisions": precisions,
        "keep_in_float32": names,
        "max_depth_of_reduction": optional(whole_number(1)),
        "calibration": batches,
        "max_half_output": tolerance,
        "truncate_double": boolean,
        "require_full_compilation": boolean,
        "disable_tf32": boolean,
        "use_fp32_acc": boolean,
        "workspace_size": whole_number(0),
        "optimization_level": optional(whole_number(0, 6)),
        "cpu_memory_budget": byte_count,
        "compute_capabilities": capabilities,
        "dryrun": boolean,
        "executor": one_of(Executor),
        "pass_through_build_failures": boolean,
        "build_seconds": seconds,
        "strict": boolean,
        "cuda_graphs": boolean,
        "cuda_graph_limit": whole_number(1),
        "reuse_outputs": boolean,
        "runtime_cache_path": path,
        "dynamic_shapes_kernel_specialization_strategy": one_of(KernelSpecialization),
        "enable_weight_streaming": boolean,
        "weight_streaming_budget": byte_count,
        "converters": plugins,
        "mutable_weights": patterns,
        "cache_dir": path,
        "engine_cache": store,
        "cache_size": whole_number(0),
        "islands": one_of(Islands),
        "tuning": tuning,
        "tune": boolean,
        "preset": optional(one_of(Preset)),
        "quantised_weights": one_of(QuantisedWeights),
        "quantised_products": one_of(QuantisedProducts),
        "max_error": tolerance,
        "check": check,
        "tolerance": tolerance,
        "dump_dir": path,
        "partition": path,
    }
)
