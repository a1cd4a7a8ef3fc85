"""The Python entry points `trace` and `compile`."""

from __future__ import annotations

import time
import types
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from ..passes.annotate.exclusion import check_modules
from .errors import NotWhole, UserError
from .frontends.choice import (
    argument_types,
    check_methods,
    front_end,
    scripted_arguments,
    traceable,
    with_defaults,
    with_other_methods,
)
from .frontends.exported_program import trace
from .frontends.module_view import is_torchscript, method_of
from .frontends.profiles import with_profiles
from .instruments.protocol import Instrument
from .ir.engine_spec import SerializedEngine
from .ir.program import Program
from .ir.tracing import tracing
from .manager import compile_program
from .pass_base import Pass
from .pipeline import DEFAULT_TEXT, Pipeline, as_pipeline
from .report.report import Report
from .runtime.engine_graph import SPLICED, EngineGraph
from .settings import Settings

__all__ = ["compile", "convert_method_to_trt_engine", "convert_to_engine", "trace"]


def compile(
    model: Any,
    inputs: Sequence[Any] | None = None,
    *,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    input_signature: Any = None,
    profiles: Sequence[Any] | None = None,
    methods: Mapping[str, Any] | Sequence[str] | None = None,
    ir: str = "default",
    decide_by_examples: bool = False,
    pipeline: str | Pipeline | Sequence[Pass] | None = None,
    instruments: Sequence[Instrument] = (),
    **options: Any,
) -> Any:
    """Compile a model to TensorRT.

    Weights and buffers are not copied: a compiled module reads, and where the model does so writes, the model's own.
    For several methods of one model, compile each (`tp.compile(model.encode, …)`, …), or give
    `methods`, which are those of a TorchScript module.
    Threads that compile take turns, since PyTorch traces one model at a time in a process; nor should other threads run
    models of PyTorch's meanwhile.

    Args:
        model: an nn.Module in eval mode, a method of one such as `model.encode`, a GraphModule, an ExportedProgram, a
            Program from `trace`, or TorchScript: a ScriptModule, a method of one, or a function.
        inputs: positional arguments as `tp.Input`s or example tensors, see `trace`; not needed for an ExportedProgram
            whose dynamic dimensions are bounded.
        arg_inputs: another name for `inputs`.
        kwarg_inputs: keyword arguments, likewise.
        input_signature: another name for `inputs`, which may also be one `tp.Input` or tensor.
        profiles: the sizes of the inputs for each of several optimization profiles, of which a call takes the first
            that has its sizes: lists of all positional inputs, or dicts of some by name (the others are in all profiles
            what `inputs` and `kwarg_inputs` say). A size is an `Input`, an example tensor, a text, a shape, or
            (smallest, usual, largest). `tp.Input(shapes=…)` says the same for one input.
        methods: of a TorchScript module: names of methods, each with its inputs (a sequence of positional ones, or a
            mapping of keyword ones); or names alone, of methods that all take `inputs`. The result is the module with
            these methods compiled in blocks; they share its state, and the other methods stay as they are.
        ir: the front end, and with it what is returned:

            - "dynamo" exports the model ahead of time; the result is a GraphModule.
            - "torch_compile" is `torch.compile` with this package's backend, which compiles what it meets when it is
              called. With `inputs` it is called right away, for the ranges that they declare; only sizes of 1, which
              torch.compile takes for constants, get a graph and engines of their own when they are first met. `graphs`
              on the result lists what was compiled.
            - "ts" or "torchscript" returns a ScriptModule, for `torch.jit.save`; see `script_module`. TorchScript that
              cannot be converted as a whole is compiled in blocks, and its report is a `ScriptReport`.
            - "fx" traces an nn.Module by `torch.fx.symbolic_trace` first; the result is a GraphModule.
            - "default" is "ts" for TorchScript, else "dynamo".
        decide_by_examples: follow decisions by values of tensors where the example tensors lead, see `trace`.
        pipeline: passes to run instead of the default ones, or their text.
        instruments: what to call around every pass, besides `Verify` and, with `dump_dir`, `Dump`.
        options: fields of `Settings`.

    Returns:
        What is called like the model. `report` on a GraphModule or ScriptModule is the run's `Report`. With
        `dryrun=True` it runs everything in PyTorch.

    Raises:
        UserError: a mistake in the arguments, or a model that cannot be exported.
        PassFailure: a pass failed.
    """
    inputs = _positional(inputs, arg_inputs, input_signature)
    chosen = front_end(ir, model)
    if profiles is not None:
        if methods is not None:
            raise UserError("profiles are those of one method, and methods has several: compile each alone.")
        inputs, kwarg_inputs = with_profiles(model, inputs, kwarg_inputs, profiles)
    if chosen == "ts" and is_torchscript(model):
        inputs, kwarg_inputs, methods = map(scripted_arguments, (inputs, kwarg_inputs, methods))
    if methods is not None:
        return _with_methods(model, chosen, methods, inputs, kwarg_inputs, pipeline, instruments, options)
    if chosen == "torch_compile":
        if decide_by_examples:
            raise UserError(
                "decide_by_examples is for models that are exported: torch.compile leaves such decisions to Python, so "
                "leave it out."
            )
        from .frontends.torch_compile import TorchCompileBackend, compiled_when_called

        backend = TorchCompileBackend(pipeline=pipeline, instruments=instruments, **options)
        return compiled_when_called(model, backend, inputs, kwarg_inputs)
    settings = Settings.from_options(options)
    with tracing():
        started = time.perf_counter()
        try:
            if chosen == "ts" and is_torchscript(model):
                kwarg_inputs = with_defaults(model, inputs, kwarg_inputs)
                if not settings.require_full_compilation:
                    check_methods(model)
            traced = traceable(model, chosen, inputs, kwarg_inputs)
            program = traced_program(model, traced, inputs, kwarg_inputs, decide_by_examples)
            check_modules(settings.torch_executed_modules, program, model)
            settings = _tuned(settings, model, inputs, kwarg_inputs)
            spent = {"export": time.perf_counter() - started}
            compiled = compile_program(program, settings, pipeline, instruments, spent)
            _watch(model, program, compiled)
            return _as_worthy_script(model, compiled, inputs, kwarg_inputs, settings) if chosen == "ts" else compiled
        except NotWhole as error:
            if chosen != "ts" or not is_torchscript(model) or settings.require_full_compilation:
                raise
            spent = {"export": time.perf_counter() - started}
            return _in_blocks(model, inputs, kwarg_inputs, settings, pipeline, instruments, str(error), spent)


def _watch(model: Any, program: Program, compiled: Any) -> None:
    """Let a compiled module notice when what was built into its engines changes in the model."""
    owner = _owner(model)
    if owner is not None and isinstance(compiled, EngineGraph):
        report: Report = vars(compiled)["report"]
        compiled.watch(owner, program.state_read - report.program.mutable)


def _as_worthy_script(
    model: Any,
    compiled: GraphModule,
    inputs: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    settings: Settings,
) -> torch.jit.ScriptModule:
    """The ScriptModule of a model that was compiled as a whole.

    Raises:
        NotWhole: the model was TorchScript, and is faster as it was, where both can run.
    """
    script = _as_script(model, compiled)
    if is_torchscript(model) and not settings.require_full_compilation:
        from .frontends.exported_program import device_of
        from .frontends.torchscript.worth import is_timed, slower_whole

        if is_timed(compiled, settings, device_of(compiled)):
            slower = slower_whole(model, script, inputs or (), kwargs or {})
            if slower is not None:
                raise NotWhole(f"the TorchScript model is not one program: {slower}.")
    if isinstance(model, torch.jit.ScriptModule):
        from .frontends.torchscript.fixed_attributes import plain_attributes, refuse_changes

        refuse_changes(script, plain_attributes(model))
    return script


def _in_blocks(
    model: Any,
    inputs: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    settings: Settings,
    pipeline: str | Pipeline | Sequence[Pass] | None,
    instruments: Sequence[Instrument],
    why: str,
    spent: Mapping[str, float],
) -> torch.jit.ScriptModule:
    """TorchScript of which parts are compiled, for the reason `why`."""
    from .frontends.torchscript.blocks import Asked, script_of_blocks

    def run(name: str, program: Program, settings: Settings) -> GraphModule:
        return compile_program(program, settings, pipeline, instruments)

    asked = Asked(why, spent=dict(spent))
    return script_of_blocks(model, inputs or (), kwargs or {}, settings, run, asked)


def _positional(inputs: Any, arg_inputs: Any, input_signature: Any) -> Any:
    """The positional inputs, under whichever of their names they were given."""
    names = {"inputs": inputs, "arg_inputs": arg_inputs, "input_signature": input_signature}
    given = {name: value for name, value in names.items() if value is not None}
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} are two names of one argument: give one of them.")
    if input_signature is not None and not isinstance(input_signature, list | tuple):
        return [input_signature]
    return next(iter(given.values()), None)


def _with_methods(
    model: Any,
    chosen: str,
    methods: Mapping[str, Any] | Sequence[str],
    inputs: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    pipeline: str | Pipeline | Sequence[Pass] | None,
    instruments: Sequence[Instrument],
    options: Mapping[str, Any],
) -> torch.jit.ScriptModule:
    """The module with several methods compiled."""
    if not isinstance(model, torch.jit.ScriptModule) or chosen != "ts":
        raise UserError(
            "methods are those of a TorchScript module, with ir='ts': compile each method of another model."
        )
    if isinstance(methods, str) or not methods:
        raise UserError(f"methods is {methods!r}: give a list of names, or a dict of names and inputs.")
    if isinstance(methods, Mapping):
        if inputs is not None or kwargs is not None:
            raise UserError(
                "methods has the inputs of every method: leave out inputs and kwarg_inputs, or give names alone."
            )
        given: dict[str, tuple[Sequence[Any], Mapping[str, Any]]] = {
            name: ((), value) if isinstance(value, Mapping) else (_positional(None, None, value) or (), {})
            for name, value in methods.items()
        }
    else:
        given = {name: (inputs or (), kwargs or {}) for name in methods}
    from .frontends.torchscript.blocks import script_of_methods

    def run(name: str, program: Program, settings: Settings) -> GraphModule:
        return compile_program(program, settings, pipeline, instruments)

    with tracing():
        return script_of_methods(model, given, Settings.from_options(dict(options)), run)


def _tuned(settings: Settings, model: Any, inputs: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> Settings:
    """The settings with what the variants of the model's operators take here, if the option `tune` says so."""
    if not settings.tune:
        return settings
    from ..tuning.tune import tuned_settings

    return tuned_settings(settings, model, inputs, kwargs)


def _owner(model: Any) -> torch.nn.Module | ExportedProgram | None:
    """What has the weights of something that can be compiled, if it is known."""
    if isinstance(model, Program):
        return model.exported
    owner = model.__self__ if isinstance(model, types.MethodType) else model
    return owner if isinstance(owner, torch.nn.Module | ExportedProgram) else None


def traced_program(
    model: Any,
    module: Any,
    inputs: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    decide_by_examples: bool = False,
) -> Program:
    """A model, of which a front end made a module, as a Program.

    Raises:
        NotWhole: it is TorchScript, which may be compiled in blocks, and cannot be exported.
        UserError: another model cannot be exported.
    """
    try:
        return trace(module, inputs, kwargs, decide_by_examples=decide_by_examples)
    except UserError as error:
        if not is_torchscript(model):
            raise
        raise NotWhole(str(error)) from error


def _as_script(model: Any, compiled: Any) -> torch.jit.ScriptModule:
    report: Report = vars(compiled)["report"]
    types = argument_types(model)
    try:
        from .runtime.measure.script_profiling import ScriptPart, ScriptProfiler
        from .runtime.saving.output_formats import torchscript_of

        script = torchscript_of(compiled, compiled.meta.get(SPLICED, report.program.exported), types)
        script, path = with_other_methods(model, script)
    except UserError as error:
        raise NotWhole(str(error)) from error
    object.__setattr__(script, "report", report)
    parts = [ScriptPart.of("", path, compiled)]
    object.__setattr__(script, "profile", ScriptProfiler(script, parts, lambda: compiled.usual_arguments()))
    return script


def convert_to_engine(
    model: Any,
    inputs: Sequence[Any] | None = None,
    *,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    input_signature: Any = None,
    profiles: Sequence[Any] | None = None,
    input_names: Any = None,
    output_names: Any = None,
    pipeline: str | Pipeline | Sequence[Pass] | None = None,
    **options: Any,
) -> SerializedEngine:
    """Compile a model that converts whole to one TensorRT engine.

    Args:
        model, inputs, arg_inputs, kwarg_inputs, input_signature, profiles, options: as for `compile`. The engine's
            bindings have the names of the arguments; `save_engine` writes them to a file with the engine.
        input_names: names for the bindings instead: in the containers of the arguments, `(positional, by name)` where
            there are such; or a list of all of them; or a text such as "input_{}", with the place of each.
        output_names: names for the results, in the container in which the model returns them, or likewise.
        pipeline: as for `compile`.

    Returns:
        The serialized engine: bytes, which `embed_engine_in_new_module` takes too.

    Raises:
        UserError: as for `compile`; or part of the model does not convert, with the reasons.
    """
    if options.get("dryrun"):
        raise UserError("option 'dryrun' builds no engine, which is what convert_to_engine is for: leave it out.")
    if not Settings.from_options({"require_full_compilation": True, **options}).require_full_compilation:
        raise UserError("convert_to_engine makes one engine of the whole model: leave out require_full_compilation.")
    whole = {**options, "require_full_compilation": True}
    inputs = _positional(inputs, arg_inputs, input_signature)
    if profiles is not None:
        inputs, kwarg_inputs = with_profiles(model, inputs, kwarg_inputs, profiles)
    if input_names is not None or output_names is not None:
        from ..passes.convert.binding_names import NameBindings

        program = _program_of(model, inputs, kwarg_inputs)
        naming = NameBindings.of(program, input_names, output_names)
        pipeline = as_pipeline(DEFAULT_TEXT if pipeline is None else pipeline).insert_after("convert", naming)
        model, inputs, kwarg_inputs = program, None, None
    from .runtime.saving.output_formats import serialized_engine

    return serialized_engine(compile(model, inputs, kwarg_inputs=kwarg_inputs, ir="dynamo", pipeline=pipeline, **whole))


def _program_of(model: Any, inputs: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> Program:
    if isinstance(model, Program):
        return model
    return traced_program(model, traceable(model, "dynamo", inputs, kwargs), inputs, kwargs)


def convert_method_to_trt_engine(
    module: torch.nn.Module,
    method_name: str = "forward",
    inputs: Sequence[Any] | None = None,
    **options: Any,
) -> SerializedEngine:
    """Compile a method of a module, or of a TorchScript module, that converts whole to one TensorRT engine.

    Args:
        module: the module.
        method_name: the method.
        inputs, options: as for `convert_to_engine`.

    Raises:
        UserError: as for `convert_to_engine`; or there is no such method.
    """
    return convert_to_engine(method_of(module, method_name), inputs, **options)
