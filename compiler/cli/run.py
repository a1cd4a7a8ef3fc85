"""The command `trt-passes run`: check what was asked, load, trace, run the pipeline, save, print."""

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import torch
from torch.fx import GraphModule

from ...passes.annotate.exclusion import check_modules, check_operator
from ..api import traced_program
from ..errors import Cancelled, NotWhole, UserError
from ..frontends.choice import check_methods, traceable
from ..frontends.exported_program import example_arguments
from ..frontends.load_model import load_model
from ..frontends.loaded_model import LoadedModel
from ..frontends.module_view import is_torchscript
from ..instruments.dump import Dump
from ..instruments.dump_files import check_folder
from ..instruments.numerics import Divergence
from ..instruments.progress import Progress
from ..instruments.protocol import Instrument
from ..instruments.verify import Verify
from ..ir.program import Program
from ..manager import PassManager, compiled_module
from ..pass_base import Context
from ..pipeline import Pipeline, default_pipeline
from ..report.dump_folder import DumpFolder
from ..report.report import Report
from ..report.script_report import ScriptReport
from ..settings import Settings
from .checks import Checks, with_checks
from .defaults import TABLE, Defaults, project_defaults
from .quiet import held_back

Notes = tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """What the command line asked for, as texts; see `trt-passes run --help`."""

    model: str
    command: str
    dump_dir: str | None = None
    pipeline: str | None = None
    until: str | None = None
    inputs: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    quantize: str | None = None
    check_numerics: bool = False
    tolerance: str | None = None
    metric: str | None = None
    executor: str | None = None
    output: str | None = None
    as_json: bool = False
    trust: bool = False
    from_: str | None = None
    weights: str | None = None
    started: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Done:
    """What a run left behind.

    Attributes:
        report: of the run.
        model: as it was loaded.
        program: as it was before all passes; None for TorchScript that is no graph as a whole.
        compiled: the compiled module, if the run came that far.
        checks: what was compared, if it was asked.
        defaults: of the project.
        dump: what wrote the dump folder, if there is one.
    """

    report: Report | ScriptReport
    model: LoadedModel
    program: Program | None
    compiled: torch.nn.Module | None
    checks: Checks | None
    defaults: Defaults
    dump: Dump | None = None


def run_model(request: Request) -> Report | ScriptReport:
    """Do what was asked, and print the report; see `perform`."""
    done = perform(request)
    _print(request, done)
    if done.checks is not None:
        done.checks.require()
    return done.report


def perform(request: Request) -> Done:
    """Do what was asked.

    Everything that can be judged without the model is checked before it is loaded, so that a typing mistake costs no
    time and leaves no file.

    Raises:
        UserError: a mistake in the request.
        PassFailure: a pass failed.
    """
    spent = {"import": time.perf_counter() - request.started}
    defaults = project_defaults() if request.from_ is None else defaults_of_dump(request)
    settings = settings_of(request, defaults)
    pipeline = pipeline_of(request, settings)
    if request.output is not None:
        _check_output(request.output, pipeline)
    checks = None if settings.check is None else Checks.of(settings)
    with _interruptible() as cancelled, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch|copyreg")  # about PyTorch's own code
        try:
            return _compile(request, settings, pipeline, checks, cancelled, spent, defaults)
        except (Exception, KeyboardInterrupt) as error:
            if cancelled():
                raise Cancelled(_stopped(settings)) from error
            raise


def defaults_of_dump(request: Request) -> Defaults:
    """The settings of the dump that is to be continued.

    Raises:
        UserError: it is no dump, or the request has options that a dump leaves no choice in.
    """
    if not Path(request.model).is_dir():
        raise UserError(
            f"--from continues a dump, and {request.model} is no folder: give one that --dump-dir wrote, and the model "
            "as --weights."
        )
    run = DumpFolder(request.model).run
    if run.get("blocks"):
        raise UserError(
            f"{request.model} is the dump of TorchScript in blocks: continue that of one, such as "
            f"{request.model}/block-00."
        )
    if request.inputs or request.profiles:
        given = "--input" if request.inputs else "--profile"
        raise UserError(f"{given} is for models: a dump is continued with the inputs that it was made with.")
    if request.dump_dir is not None and Path(request.dump_dir).resolve() == Path(request.model).resolve():
        raise UserError(f"--dump-dir is {request.dump_dir}, the dump that is continued: name another folder.")
    settings = run.get("settings")
    return Defaults(None, settings if isinstance(settings, dict) else {})


def _resume(request: Request, settings: Settings, pipeline: Pipeline) -> tuple[LoadedModel, Program, Pipeline, Notes]:
    """The model, program and passes with which a dump is continued."""
    from ...debug.resume import resumed

    weights = None if request.weights is None else load_model(request.weights, request.trust)
    found = resumed(request.model, str(request.from_), pipeline, settings, weights, request.trust)
    model = weights or LoadedModel(request.model, found.program.exported)
    return model, found.program, Pipeline(found.passes), found.notes


def _compile(
    request: Request,
    settings: Settings,
    pipeline: Pipeline,
    checks: Checks | None,
    cancelled: Callable[[], bool],
    spent: dict[str, float],
    defaults: Defaults,
) -> Done:
    with Progress(sys.stderr) as progress:
        if settings.dump_dir is not None:
            check_folder(Path(settings.dump_dir))
        notes: Notes = ()
        resuming = request.from_ is not None
        with _counted(spent, "load"):
            if resuming:
                model, program, pipeline, notes = _resume(request, settings, pipeline)
            else:
                model = _loaded(request)
        for name in sorted(settings.torch_executed_ops):
            check_operator(name)  # not before the model is loaded, which may define operators
        run = _Run(request, pipeline, progress, cancelled)
        try:
            if not resuming:
                script_asked = request.output is not None and request.output.endswith(".ts")
                if script_asked and is_torchscript(model.module) and not settings.require_full_compilation:
                    check_methods(model.module)
                with held_back(), _counted(spent, "export"):
                    program = _trace(model)
                check_modules(settings.torch_executed_modules, program, model.module)
            report, dump = run.of(program, settings, checks, spent)
            report = replace(report, notes=(*notes, *report.notes)) if notes else report
            compiled_module(report)  # which then knows its report
            if request.output is not None:
                saving: dict[str, float] = {}
                with _counted(saving, "save"):
                    _save(report, Path(request.output))
                report = report.with_spent(**saving)
                if dump is not None:
                    dump.finished(report)
            return Done(report, model, program, report.compiled, checks, defaults, dump)
        except NotWhole as error:
            if resuming or not is_torchscript(model.module) or settings.require_full_compilation:
                raise
            script = run.in_blocks(model, settings, str(error), checks, spent)
            return Done(vars(script)["report"], model, None, script, checks, defaults)


@dataclass(frozen=True)
class _Run:
    """Runs the pipeline on programs with what the command line asked for."""

    request: Request
    pipeline: Pipeline
    progress: Progress
    cancelled: Callable[[], bool]

    def of(
        self, program: Program, settings: Settings, checks: Checks | None, spent: Mapping[str, float]
    ) -> tuple[Report, Dump | None]:
        """The report of a run, and what wrote its dump."""
        instruments: list[Instrument] = [Verify(), self.progress, *(checks.instruments if checks is not None else ())]
        dump = None
        if settings.dump_dir is not None:
            numerics, results = (None, None) if checks is None else (checks.numerics, checks.results)
            dump = Dump(settings.dump_dir, numerics=numerics, checking=results)
        instruments += [] if dump is None else [dump]
        ctx = self.progress.context(Context(settings=settings, cancelled=self.cancelled))
        manager = PassManager(self.pipeline, instruments, ctx=ctx, command=self.request.command, spent=spent)
        return manager.run(program), dump

    def in_blocks(
        self,
        model: LoadedModel,
        settings: Settings,
        whole: str,
        checks: Checks | None,
        spent: Mapping[str, float],
    ) -> torch.jit.ScriptModule:
        """Compile TorchScript that is no graph as a whole in blocks; `checks` gets the rows of all of them."""
        from ..frontends.torchscript.blocks import Asked, script_of_blocks

        output = self.request.output
        if output is not None and not output.endswith(".ts"):
            raise UserError(
                f"{whole} It is compiled in blocks, which only TorchScript can hold: name the output "
                f"{Path(output).stem}.ts."
            )
        rows: list[Divergence] = []

        def compiled(name: str, program: Program, settings: Settings) -> GraphModule:
            own = None if checks is None else Checks.of(settings)
            report, _ = self.of(program, settings, own, {})
            rows.extend(replace(row, output=f"{name}/{row.output}") for row in (own.numerics.rows if own else ()))
            return compiled_module(report)

        asked = Asked(whole, self.request.command, spent)
        script = script_of_blocks(model.module, model.args, model.kwargs, settings, compiled, asked)
        if checks is not None:
            checks.numerics.rows[:] = rows
        if output is not None:
            from ..runtime.saving.save import save

            save(script, Path(output))
        return script


@contextmanager
def _counted(spent: dict[str, float], name: str) -> Iterator[None]:
    """Count the seconds of the block under a name."""
    started = time.perf_counter()
    yield
    spent[name] = time.perf_counter() - started


def _loaded(request: Request) -> LoadedModel:
    """The model that was asked for, with its inputs, and quantised if that was asked too."""
    model = load_model(request.model, request.trust).with_inputs(request.inputs).with_profiles(request.profiles)
    if request.quantize is None:
        return model
    from ..frontends.quantize import quantize

    mode, _, text = request.quantize.partition(":")
    try:
        max_error = float(text) if text else None
    except ValueError as error:
        raise UserError(f"--quantize {request.quantize!r}: {text!r} is no number: write {mode}:0.01, say.") from error
    if not isinstance(model.module, torch.nn.Module) or is_torchscript(model.module):
        kind = type(model.module).__name__
        raise UserError(f"--quantize takes an nn.Module, and {model.name} is a {kind}: quantise before exporting it.")
    args, kwargs = example_arguments(model.module, model.args, model.kwargs)
    # By name, where some of the inputs are.
    batch = dict(inspect.signature(model.module.forward).bind(*args, **kwargs).arguments) if kwargs else args
    with held_back(), torch.no_grad():
        module = quantize(model.module, mode, [batch], max_error=max_error)  # type: ignore[arg-type]
    return replace(model, module=module)


def traced(request: Request, settings: Settings) -> Program:
    """The model that was asked for as a program, with the modules and operators that settings name checked."""
    model = _loaded(request)
    for name in sorted(settings.torch_executed_ops):
        check_operator(name)
    with held_back():
        program = _trace(model)
    check_modules(settings.torch_executed_modules, program, model.module)
    return program


def _stopped(settings: Settings) -> str:
    folder = f"; {settings.dump_dir} holds the passes that finished" if settings.dump_dir is not None else ""
    return f"stopped by Ctrl-C{folder}."


def settings_of(request: Request, defaults: Defaults) -> Settings:
    """The settings that were asked for; UserError if one cannot be."""
    settings = Settings.from_texts(request.settings, defaults.settings)
    if request.plugins:
        settings = settings.updated({"converters": [*settings.converters, *request.plugins]})
    if request.dump_dir is not None:
        settings = settings.updated({"dump_dir": request.dump_dir})
    if request.executor is not None:
        settings = settings.updated({"executor": request.executor})
    return with_checks(settings, request.check_numerics, request.tolerance, request.metric)


def pipeline_of(request: Request, settings: Settings) -> Pipeline:
    """The passes that were asked for; UserError if there are none such."""
    text = request.pipeline
    if text is None and request.from_ is not None:
        text = str(DumpFolder(request.model).run.get("pipeline", ""))
    pipeline = default_pipeline() if text is None else Pipeline.parse(text)
    if settings.dryrun and request.pipeline is None:
        pipeline = pipeline.until("partition")
    return pipeline if request.until is None else pipeline.until(request.until)


def _check_output(output: str, pipeline: Pipeline) -> None:
    if not any("spliced" in item.establishes for item in pipeline):
        raise UserError(f"-o {output} needs a compiled model, and the pipeline ends before splice: run all of it.")
    path = Path(output)
    if path.suffix not in (".pt2", ".ts"):
        raise UserError(
            f"-o {output} does not end in .pt2, as torch.export.load insists, nor in .ts for TorchScript: name it "
            f"{path.stem}.pt2."
        )
    if path.is_dir():
        raise UserError(f"-o {output} is a folder: name a file.")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise UserError(f"-o {output}: there is no folder {path.parent}: create it first.")
    if not os.access(folder, os.W_OK):
        raise UserError(f"-o {output}: the folder {path.parent} is not writable.")


def _trace(model: LoadedModel) -> Program:
    if not model.has_inputs:
        raise UserError(
            f"{model.name} comes without example inputs: give each by --input, such as --input 1x3x224x224."
        )
    module = traceable(model.module, "dynamo", model.args, model.kwargs)
    return traced_program(model.module, module, model.args or None, model.kwargs or None)


def _save(report: Report, path: Path) -> None:
    from ..runtime.saving.save import save

    assert report.compiled is not None
    save(report.compiled, path)


def _print(request: Request, done: Done) -> None:
    report, defaults = done.report, done.defaults
    if request.as_json:
        click.echo(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
        return
    from .tables import print_report

    print_report(report, done.checks.numerics.rows if done.checks is not None else ())
    if defaults.path is not None:
        click.echo(f"settings of [{TABLE}] in {defaults.path}: {', '.join(sorted(defaults.settings))}")
    if request.output is not None:
        click.echo(f"wrote {request.output}")
    if request.dump_dir is not None:
        click.echo(f"wrote {request.dump_dir}: look with `trt-passes view {request.dump_dir}`")


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C raises in the main thread, and the yielded function tells other threads (TensorRT's builds) to stop."""
    asked = threading.Event()

    def on_interrupt(number: int, frame: types.FrameType | None) -> None:
        asked.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, previous)
