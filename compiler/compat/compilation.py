"""The compilers of Torch-TensorRT: `compile` and those of its front ends, done by `trt_passes.compile`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ..api import compile as compile_model
from ..api import convert_to_engine
from ..api import trace as trace_model
from ..errors import BindingNameMismatch
from ..frontends.torch_compile import TorchCompileBackend, compiled_when_called
from ..ir.input import Input as Declared
from ..runtime.after_import import after_import
from .arguments import named, positional, report_file, translated
from .calibration import quantised
from .compilation_settings import CompilationSettings
from .converters import with_registered
from .debugging import dump_folder
from .lowering_passes import with_passes
from .made import remember
from .mistakes import InvalidType, InvalidValue, python_errors
from .modes import follow_modes_when_called


@python_errors
def compile(
    module: Any,
    ir: str = "default",
    inputs: Any = None,
    *,
    arg_inputs: Any = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    enabled_precisions: Any = None,
    **options: Any,
) -> Any:
    """Compile a model to TensorRT, with the arguments of `torch_tensorrt.compile`.

    Args:
        module: an nn.Module, ScriptModule, GraphModule or ExportedProgram.
        ir: "default", "dynamo", "torch_compile", "ts", "torchscript", "fx" or "exported_program".
        inputs: `Input`s or example tensors; a tensor or `Input` alone stands for a list of it.
        arg_inputs: another name for `inputs`; so is `input_signature`.
        kwarg_inputs: the same for keyword arguments.
        enabled_precisions: see `trt_passes.compile`.
        options: those of Torch-TensorRT, and of `trt_passes.Settings`.

    Returns:
        What `trt_passes.compile` returns. With ir="torch_compile", what `torch.compile` does: it compiles when it is
        called.

    Raises:
        UserError: a mistake in the arguments, or a model that cannot be exported.
        PassFailure: a pass failed.
    """
    if enabled_precisions is not None:
        options["enabled_precisions"] = enabled_precisions
    args = positional(inputs, arg_inputs, options.pop("input_signature", None))
    kwargs = named(kwarg_inputs)
    if ir == "exported_program":
        ir = "dynamo"
    if ir == "fx" and "min_acc_module_size" in options:
        options.setdefault("min_block_size", options.pop("min_acc_module_size"))
    if ir == "torch_compile":
        return _when_called(module, args, kwargs, options)
    if args is None and kwargs is None and not isinstance(module, ExportedProgram):
        raise InvalidValue("the model is compiled for its inputs: give inputs, arg_inputs or kwarg_inputs.")
    return _compiled(module, args, kwargs, options, ir)


@python_errors
def compile_program(
    exported_program: Any,
    inputs: Any = None,
    *,
    arg_inputs: Any = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    **options: Any,
) -> torch.fx.GraphModule:
    """`torch_tensorrt.dynamo.compile`: an ExportedProgram, with inputs that say how far its sizes may vary.

    Args:
        exported_program: from `torch.export.export` or `trace`; a module is exported first.
        inputs, arg_inputs, kwarg_inputs, options: as for `compile`.
    """
    args, kwargs = positional(inputs, arg_inputs), named(kwarg_inputs)
    compiled: torch.fx.GraphModule = _compiled(exported_program, args, kwargs, options, "dynamo")
    return compiled


def compile_script(
    module: Any,
    inputs: Any = None,
    input_signature: Any = None,
    **options: Any,
) -> Any:
    """`torch_tensorrt.ts.compile`: TorchScript, for `torch.jit.save`; see `compile`."""
    return compile(module, "ts", inputs, input_signature=input_signature, **options)


def _compiled(module: Any, args: Any, kwargs: Any, options: Mapping[str, Any], ir: str) -> Any:
    rest = dict(options)
    module = quantised(module, rest)
    path, chosen = report_file(rest), translated(rest)
    folder = dump_folder()
    if folder is not None:
        chosen.setdefault("dump_dir", folder)
    chosen["pipeline"] = with_passes(chosen.get("pipeline"))
    compiled = compile_model(module, args, kwarg_inputs=kwargs, ir=ir, **with_registered(chosen))
    if path is not None:
        path.write_text(f"{compiled.report.table()}\n", encoding="utf-8")
    return remember(compiled)


def _when_called(module: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any:
    """`torch.compile` of a model, called right away only where inputs say how far sizes may vary."""
    leaves = pytree.tree_leaves((args, kwargs))
    if not any(isinstance(leaf, Declared) and leaf.is_dynamic for leaf in leaves):
        args = kwargs = None
    chosen = with_registered(translated(options))
    chosen["pipeline"] = with_passes(chosen.get("pipeline"))
    return compiled_when_called(
        module, TorchCompileBackend(gradients=False, made=follow_modes_when_called, **chosen), args, kwargs
    )


def backend(
    graph: torch.fx.GraphModule,
    example_inputs: Sequence[Any],
    settings: CompilationSettings | None = None,
    **others: Any,
) -> Callable[..., Any]:
    """`torch.compile(model, backend="torch_tensorrt", options={…})`, with the options of `compile`."""
    nested = others.pop("options", None) or {}
    whole = settings.options() if isinstance(settings, CompilationSettings) else {}
    options = {**whole, **others, **nested}
    folder = dump_folder()
    if folder is not None:
        options = {"dump_dir": folder, **options}
    try:
        chosen = with_registered(translated(options))
    except Exception as error:
        # Raised here, it would reach the user inside dynamo's BackendCompilerFailed.
        return functools.partial(_raise, error)
    chosen["pipeline"] = with_passes(chosen.get("pipeline"))
    return TorchCompileBackend(gradients=False, made=follow_modes_when_called, **chosen)(graph, example_inputs)


def _raise(error: Exception, *args: Any) -> None:
    raise error


@python_errors
def trace(
    mod: torch.nn.Module,
    inputs: Any = None,
    *,
    arg_inputs: Any = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    **options: Any,
) -> ExportedProgram:
    """`torch_tensorrt.dynamo.trace`: the model as an ExportedProgram, for the ranges that its inputs declare.

    Args:
        mod: the model.
        inputs, arg_inputs, kwarg_inputs: as for `compile`.
        options: those of `compile`, which have no part in this, and "strict", of which torch.export needs none here.
    """
    args, kwargs = positional(inputs, arg_inputs), named(kwarg_inputs)
    if args is None and kwargs is None:
        raise InvalidValue("the model is exported for its inputs: give inputs, arg_inputs or kwarg_inputs.")
    return trace_model(mod, args or (), kwargs).exported


@python_errors
def serialized_engine(
    exported_program: Any,
    inputs: Any = None,
    *,
    arg_inputs: Any = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    arg_input_binding_names: Any = None,
    kwarg_input_binding_names: Mapping[str, Any] | None = None,
    output_binding_names: Any = None,
    **options: Any,
) -> bytes:
    """`dynamo.convert_exported_program_to_serialized_trt_engine`: the one engine that does all a program does.

    Args:
        exported_program: from `torch.export.export` or `trace`, or a module.
        inputs, arg_inputs, kwarg_inputs, options: as for `compile`.
        arg_input_binding_names, kwarg_input_binding_names, output_binding_names: names for the bindings of the engine,
            in the containers of the arguments and of the result; by default those of the arguments, and output0 and on.

    Raises:
        BindingNameMismatchError: names are in other containers, or one is there twice.
        UserError: part of it does not convert, with the reasons.
    """
    chosen = with_registered(translated(options))
    for name in ("require_full_compilation", "min_block_size"):  # one engine is what this is for
        chosen.pop(name, None)
    args, kwargs = positional(inputs, arg_inputs), named(kwarg_inputs)
    if arg_input_binding_names is not None or kwarg_input_binding_names is not None:
        if not isinstance(exported_program, ExportedProgram):
            exported_program = trace_model(exported_program, args or (), kwargs).exported
        chosen["input_names"] = _input_names(exported_program, arg_input_binding_names, kwarg_input_binding_names)
    chosen["output_names"] = "output{}" if output_binding_names is None else output_binding_names
    chosen["pipeline"] = with_passes(chosen.get("pipeline"))
    return convert_to_engine(exported_program, args, kwarg_inputs=kwargs, **chosen)


def _input_names(program: ExportedProgram, args: Any, kwargs: Mapping[str, Any] | None) -> Any:
    """Names of all inputs, in the containers of the arguments; those that are not given keep their own."""
    own = pytree.tree_unflatten(list(program.graph_signature.user_inputs), program.call_spec.in_spec)
    positionals, keywords = own
    if kwargs is not None and set(kwargs) == set(keywords):
        keywords = {key: kwargs[key] for key in keywords}  # in the program's order
    elif kwargs is not None:
        raise BindingNameMismatch(f"kwarg_input_binding_names is {kwargs!r}: give names for {', '.join(keywords)}.")
    return (positionals if args is None else tuple(args)), keywords


@python_errors
def method_engine(
    module: Any,
    method_name: str = "forward",
    inputs: Any = None,
    arg_inputs: Any = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    ir: str = "default",
    enabled_precisions: Any = None,
    **options: Any,
) -> bytes:
    """`torch_tensorrt.convert_method_to_trt_engine`: the one engine that does all a method of a module does.

    Args:
        module: an nn.Module or ScriptModule.
        method_name: the method.
        inputs, arg_inputs, kwarg_inputs, ir, enabled_precisions, options: as for `compile`.
    """
    if not isinstance(method_name, str):
        raise InvalidType(f"method_name is {method_name!r}: give the name of a method.")
    method = module if method_name == "forward" else getattr(module, method_name, None)
    if method is None:
        raise InvalidValue(f"a {type(module).__name__} has no method {method_name!r}.")
    if enabled_precisions is not None:
        options["enabled_precisions"] = enabled_precisions
    signature = options.pop("input_signature", None)
    args = positional(inputs, arg_inputs, signature)
    return serialized_engine(method, args, kwarg_inputs=kwarg_inputs, **options)


def program_of(compiled: torch.fx.GraphModule, *_: Any, **__: Any) -> ExportedProgram:
    """`torch_tensorrt.dynamo.export`: what was compiled, as an ExportedProgram that calls its engines."""
    from ..runtime.engine_graph import SPLICED, EngineGraph, current_program

    if not isinstance(compiled, EngineGraph):
        raise InvalidType(f"only what was compiled calls engines, not a {type(compiled).__name__}.")
    return current_program(compiled.meta[SPLICED], compiled)


def register_backends() -> None:
    """Let `torch.compile` know the backends "torch_tensorrt" and "tensorrt", unless there are such already.

    It takes place when PyTorch's compiler is imported, which takes longer than all that is here.
    """
    if _REGISTRY in sys.modules:
        _register()
    else:
        after_import(_REGISTRY, _register)


_REGISTRY = "torch._dynamo.backends.registry"


def _register() -> None:
    registry: Any = sys.modules[_REGISTRY]
    for name in ("torch_tensorrt", "tensorrt"):
        if name not in registry._BACKENDS:
            registry.register_backend(compiler_fn=backend, name=name)


__all__ = [
    "backend",
    "compile",
    "compile_program",
    "compile_script",
    "method_engine",
    "program_of",
    "register_backends",
    "serialized_engine",
    "trace",
]
