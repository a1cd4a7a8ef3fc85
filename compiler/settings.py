"""`Settings`: the one list of options behind the Python API, the command line and the docs."""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from .errors import UserError, did_you_mean

if TYPE_CHECKING:  # `trt-passes run --help` lists the options without waiting for PyTorch
    import torch

    from .ir.check import Check
    from .ir.tuning import Tuning

Executor = Literal["auto", "tensorrt", "reference", "pytorch"]
KernelSpecialization = Literal["lazy", "eager", "none"]
Preset = Literal["fast", "exact"]
Islands = Literal["eager", "inductor"]

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
    }
)
"""Other names that an option may be given by, and the name it has here."""

_PLACES = frozenset({"dump_dir", "cache_dir", "runtime_cache_path"})
_OBJECTS = frozenset({"check", "converters", "engine_cache", "tuning"})

_PRECISIONS = MappingProxyType(
    {
        "float32": "float32",
        "fp32": "float32",
        "f32": "float32",
        "float16": "float16",
        "half": "float16",
        "fp16": "float16",
        "f16": "float16",
        "bfloat16": "bfloat16",
        "bf16": "bfloat16",
    }
)
"""Words for precisions, and their names in PyTorch."""


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
        "when they are called first (inductor); where that fails, eager.",
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
            if item.name not in ("converters", "engine_cache")
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


def _int(name: str, value: Any, low: int, high: int | None = None) -> int:
    try:
        number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise UserError(f"option {name!r} is {value!r}: give a whole number {limits}.")
    return number


def _seconds(name: str, value: Any) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UserError(f"option {name!r} is {value!r}: give a number of seconds, or 0 for no limit.")
    return number


def _bool(name: str, value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise UserError(f"option {name!r} is {value!r}: give true or false.")


def _items(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [item.strip() for item in value.strip("{}[]()").split(",") if item.strip()]
    return list(value) if isinstance(value, Iterable) else [value]


def _names(name: str, value: Any) -> frozenset[str]:
    import torch

    from .ir.text import op_name

    def text_of(item: Any) -> str:
        if isinstance(item, str):
            return item.removeprefix("torch.ops.").replace("::", ".")
        if isinstance(item, torch._ops.OpOverload):
            return op_name(item)
        if isinstance(item, torch._ops.OpOverloadPacket):
            return str(item).replace("::", ".")
        if isinstance(item, type) and issubclass(item, torch.nn.Module):
            return item.__name__
        raise UserError(f"option {name!r} contains {item!r}: give names, or operators such as torch.ops.aten.sort.")

    return frozenset(text_of(item) for item in _items(value))


def _plugins(name: str, value: Any) -> tuple[Any, ...]:
    """Converters and decompositions, also those that modules have which are given by name; families taken apart."""
    found: list[Any] = []
    for item in [] if value is None else _items(value):
        if isinstance(item, str):
            item = _module(name, item)
        if isinstance(item, types.ModuleType):
            of_module = [entry for entry in vars(item).values() if _is_plugin(entry)]
            if not of_module:
                raise UserError(f"option {name!r} names the module {item.__name__}, which has no converters.")
            found += of_module
        elif _is_plugin(item):
            found.append(item)
        else:
            raise UserError(
                f"option {name!r} contains a {type(item).__name__}: give what tp.converter or tp.decomposition made, "
                "or the name of a module that has such."
            )
    apart = [part for item in found for part in getattr(item, "converters", (item,))]
    return tuple(dict.fromkeys(apart))


def _is_plugin(item: Any) -> bool:
    return bool(getattr(item, "is_plugin", False)) and not isinstance(item, type)


def _module(name: str, text: str) -> types.ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: modules beside the working folder
    try:
        return importlib.import_module(text)
    except ModuleNotFoundError as error:
        if error.name is not None and (text == error.name or text.startswith(f"{error.name}.")):
            raise UserError(f"option {name!r} names the module {text!r}, which is not there.") from None
        raise
    except Exception as error:
        raise UserError(f"option {name!r} names the module {text!r}, which cannot be imported: {error!r}.") from error


def _store(name: str, value: Any) -> Any:
    missing = [
        method for method in ("save", "load") if value is not None and not callable(getattr(value, method, None))
    ]
    if missing:
        raise UserError(
            f"option {name!r} is a {type(value).__name__} without {missing[0]}: give an object that has it."
        )
    return value


def _patterns(name: str, value: Any) -> frozenset[str]:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if value is None or value == "" or (isinstance(value, str) and value.lower() in words):
        value = bool(value) and words[value.lower()]
    if isinstance(value, bool):
        return frozenset({"*"} if value else ())
    items = _items(value)
    if not all(isinstance(item, str) and item for item in items):
        raise UserError(f"option {name!r} is {value!r}: give true, or names of weights and patterns of such.")
    return frozenset(items)


def _precisions(name: str, value: Any) -> frozenset[torch.dtype]:
    import torch

    dtypes: dict[str, torch.dtype] = {text: getattr(torch, full) for text, full in _PRECISIONS.items()}
    found = set()
    for item in _items(value):
        dtype = dtypes.get(item.removeprefix("torch.")) if isinstance(item, str) else item
        if dtype not in set(dtypes.values()):
            raise UserError(f"option {name!r} contains {item!r}: give float32, float16 or bfloat16.")
        found.add(dtype)
    if {torch.float16, torch.bfloat16} <= found:
        raise UserError(f"option {name!r} names both float16 and bfloat16: give one of them.")
    return frozenset(found or {torch.float32})


def _capabilities(name: str, value: Any) -> tuple[str, ...]:
    texts = [f"{item[0]}.{item[1]}" if isinstance(item, tuple) else str(item) for item in _items(value)]
    for text in texts:
        major, separator, minor = text.partition(".")
        if not (separator and major.isdigit() and minor.isdigit()):
            raise UserError(f"option {name!r} contains {text!r}: give compute capabilities such as 8.6 or 12.0.")
    return tuple(sorted(set(texts), key=lambda text: tuple(int(part) for part in text.split("."))))


def _one_of(kind: Any) -> Any:
    def normalize(name: str, value: Any) -> str:
        if value not in get_args(kind):
            raise UserError(f"option {name!r} is {value!r}.{did_you_mean(str(value), get_args(kind))}")
        return str(value)

    return normalize


def _bytes(name: str, value: Any) -> int | None:
    return None if value in (None, "none", "") else _int(name, value, 0)


def _check(name: str, value: Any) -> Check | None:
    if value is None or (isinstance(value, str) and value in ("none", "")):
        return None
    from .ir.check import Check

    return Check.of(name, _bool(name, value) if isinstance(value, str) else value)


def _tuning(name: str, value: Any) -> Tuning | None:
    if value is None or (isinstance(value, str) and value in ("none", "")):
        return None
    from .ir.tuning import Tuning

    if isinstance(value, Tuning):
        return value
    path = _path(name, value)
    return None if path is None else Tuning.load(path)


def _tolerance(name: str, value: Any) -> float | None:
    if value in (None, "none", ""):
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else -1.0
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise UserError(f"option {name!r} is {value!r}: give a number above 0, such as 1e-2.")
    return number


def _path(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise UserError(f"option {name!r} is {value!r}: give a path.")
    return os.path.expanduser(os.fsdecode(value))


_NORMALIZERS: Mapping[str, Any] = MappingProxyType(
    {
        "min_block_size": lambda name, value: None if value in (None, "none", "") else _int(name, value, 1),
        "torch_executed_ops": _names,
        "torch_executed_modules": _names,
        "enabled_precisions": _precisions,
        "keep_in_float32": _names,
        "max_depth_of_reduction": lambda name, value: None if value in (None, "none", "") else _int(name, value, 1),
        "truncate_double": _bool,
        "require_full_compilation": _bool,
        "disable_tf32": _bool,
        "use_fp32_acc": _bool,
        "workspace_size": lambda name, value: _int(name, value, 0),
        "optimization_level": lambda name, value: None if value in (None, "none", "") else _int(name, value, 0, 6),
        "cpu_memory_budget": _bytes,
        "compute_capabilities": _capabilities,
        "dryrun": _bool,
        "executor": _one_of(Executor),
        "pass_through_build_failures": _bool,
        "build_seconds": _seconds,
        "strict": _bool,
        "cuda_graphs": _bool,
        "cuda_graph_limit": lambda name, value: _int(name, value, 1),
        "reuse_outputs": _bool,
        "runtime_cache_path": _path,
        "dynamic_shapes_kernel_specialization_strategy": _one_of(KernelSpecialization),
        "enable_weight_streaming": _bool,
        "weight_streaming_budget": _bytes,
        "converters": _plugins,
        "mutable_weights": _patterns,
        "cache_dir": _path,
        "engine_cache": _store,
        "cache_size": lambda name, value: _int(name, value, 0),
        "islands": _one_of(Islands),
        "tuning": _tuning,
        "tune": _bool,
        "preset": lambda name, value: None if value in (None, "none", "") else _one_of(Preset)(name, value),
        "max_error": _tolerance,
        "check": _check,
        "tolerance": _tolerance,
        "dump_dir": _path,
        "partition": _path,
    }
)
