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
from .frontends.choice import front_end, traceable
from .frontends.exported_program import trace
from .frontends.module_view import is_torchscript
from .instruments.protocol import Instrument
from .ir.program import Program
from .ir.tracing import tracing
from .manager import compile_program
from .pass_base import Pass
from .pipeline import Pipeline
from .report.report import Report
from .runtime.engine_graph import SPLICED, EngineGraph
from .runtime.saving.output_formats import engine_bytes, torchscript_of, whole_engine
from .settings import Settings

__all__ = ["compile", "convert_to_engine", "trace"]


def compile(
    model: Any,
    inputs: Sequence[Any] | None = None,
    *,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    ir: str = "default",
    decide_by_examples: bool = False,
    pipeline: str | Pipeline | Sequence[Pass] | None = None,
    instruments: Sequence[Instrument] = (),
    **options: Any,
) -> Any:
    """Compile a model to TensorRT.

    Weights and buffers are not copied: a compiled module reads, and where the model does so writes, the model's own.
    For several methods of one model, compile each (`tp.compile(model.encode, …)`, `tp.compile(model.decode, …)`).
    Threads that compile take turns, since PyTorch traces one model at a time in a process; nor should other threads run
    models of PyTorch's meanwhile.

    Args:
        model: an nn.Module in eval mode, a method of one such as `model.encode`, a GraphModule, an ExportedProgram, a
            Program from `trace`, or TorchScript: a ScriptModule, a method of one, or a function.
        inputs: positional arguments as `tp.Input`s or example tensors, see `trace`; not needed for an ExportedProgram
            whose dynamic dimensions are bounded.
        arg_inputs: another name for `inputs`.
        kwarg_inputs: keyword arguments, likewise.
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
    if inputs is not None and arg_inputs is not None:
        raise UserError("inputs and arg_inputs are two names of one argument: give one of them.")
    inputs = arg_inputs if inputs is None else inputs
    chosen = front_end(ir, model)
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
            traced = traceable(model, chosen, inputs, kwarg_inputs)
            program = traced_program(model, traced, inputs, kwarg_inputs, decide_by_examples)
            check_modules(settings.torch_executed_modules, program, model)
            spent = {"export": time.perf_counter() - started}
            compiled = compile_program(program, settings, pipeline, instruments, spent)
            owner = _owner(model)
            if owner is not None and isinstance(compiled, EngineGraph):
                compiled.watch(owner, program.state_read)
            if chosen != "ts":
                return compiled
            report: Report = vars(compiled)["report"]
            script = _as_script(compiled, report)
        except NotWhole as error:
            if chosen != "ts" or not is_torchscript(model) or settings.require_full_compilation:
                raise
            from .frontends.torchscript.blocks import Asked, script_of_blocks

            asked = Asked(str(error), spent={"export": time.perf_counter() - started})

            def run(name: str, program: Program, settings: Settings) -> GraphModule:
                return compile_program(program, settings, pipeline, instruments)

            if settings.check is not None:
                # Blocks have arguments of their own: each is checked on those that it is compiled for.
                settings = settings.updated({"check": True})
            return script_of_blocks(model, inputs or (), kwarg_inputs or {}, settings, run, asked)
        object.__setattr__(script, "report", report)
        return script


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


def _as_script(compiled: Any, report: Report) -> torch.jit.ScriptModule:
    try:
        return torchscript_of(compiled, compiled.meta.get(SPLICED, report.program.exported))
    except UserError as error:
        raise NotWhole(str(error)) from error


def convert_to_engine(
    model: torch.nn.Module | ExportedProgram | Program,
    inputs: Sequence[Any] | None = None,
    *,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    **options: Any,
) -> bytes:
    """Compile a model that converts whole to one TensorRT engine.

    Args:
        model, inputs, arg_inputs, kwarg_inputs, options: as for `compile`. The engine's bindings have the names of the
            arguments; `save_engine` writes them to a file with the engine.

    Returns:
        The serialized engine.

    Raises:
        UserError: as for `compile`; or part of the model does not convert, with the reasons.
    """
    if options.get("dryrun"):
        raise UserError("option 'dryrun' builds no engine, which is what convert_to_engine is for: leave it out.")
    if not Settings.from_options({"require_full_compilation": True, **options}).require_full_compilation:
        raise UserError("convert_to_engine makes one engine of the whole model: leave out require_full_compilation.")
    whole = {**options, "require_full_compilation": True}
    compiled = compile(model, inputs, arg_inputs=arg_inputs, kwarg_inputs=kwarg_inputs, ir="dynamo", **whole)
    return bytes(engine_bytes(whole_engine(compiled)))
