"""The command `trt-passes`. Each command imports what it needs when it runs, so that help and `explain` are quick."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from ..errors import Cancelled, PassFailure, UserError, did_you_mean
from .completion import (
    complete_codes,
    complete_executors,
    complete_files,
    complete_metrics,
    complete_settings,
    complete_stages,
)

USER_MISTAKE, PASS_FAILED = 1, 2
_FILE_SYSTEM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EFBIG})


class Commands(click.Group):
    """A group that turns every way to end into the documented exit codes: 0, 1 (user's mistake), 2 (a pass failed)."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        extra["standalone_mode"] = False
        extra["obj"] = time.perf_counter()
        try:
            code = super().main(*args, **extra)
        except BaseException as error:
            code = _report_failure(error)
            if isinstance(error, Cancelled):
                _leave_builds_behind(code)
        sys.exit(code if isinstance(code, int) else 0)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise UserError(f"unknown command {args[0]!r}.{did_you_mean(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def _report_failure(error: BaseException) -> int:
    """Say on stderr what went wrong, and give the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else USER_MISTAKE
    if isinstance(error, click.ClickException):
        _say(_usage_text(error))
        return USER_MISTAKE
    if isinstance(error, ImportError | OSError) and "torch" not in sys.modules:
        # An import that failed leaves no module behind, and every command but help imports it first.
        _say(f"PyTorch cannot be imported: {error}. Install it again: pip install --force-reinstall torch")
        return USER_MISTAKE
    message = _user_message(error)
    if message is not None:
        _say(message)
        return USER_MISTAKE
    if not isinstance(error, PassFailure):
        traceback.print_exception(error)
        _say("this is a bug in trt-passes: please report it with the lines above.")
        return PASS_FAILED
    _say(str(error) if error.reproduce else f"{error}\nreproduce with: {_command()}")
    return PASS_FAILED


def _leave_builds_behind(code: int) -> None:
    """End the process at once if a build still runs: the interpreter would wait for the end of TensorRT's long step."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if any(not thread.daemon for thread in others):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _usage_text(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split())
    ctx = getattr(error, "ctx", None)
    return f"{text} See {ctx.command_path} --help." if ctx is not None else text


def _user_message(error: BaseException) -> str | None:
    """The sentence for an error that the user can do something about, looked for in the chain of causes; else None."""
    for cause in _causes(error):
        if isinstance(cause, KeyboardInterrupt | click.Abort):
            return "stopped by Ctrl-C."
        if isinstance(cause, UserError | Cancelled):
            return str(cause)
        if isinstance(cause, OSError) and cause.errno in _FILE_SYSTEM:
            place = f" {cause.filename}" if cause.filename else ""
            return f"cannot write or read{place}: {cause.strerror}."
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _say(text: str) -> None:
    click.echo(f"trt-passes: {text}", err=True)


def _command() -> str:
    return shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])


def _version(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from ... import __version__

        click.echo(f"trt-passes {__version__}")
        ctx.exit()


class RunCommand(click.Command):
    """`run`, whose help ends with the list of settings."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from ..settings import Settings

        with formatter.section("Settings for --set"):
            formatter.write_dl([(f"{name}={default}", doc) for name, _, default, doc in Settings.documentation()])


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Compile PyTorch models to TensorRT by a pipeline of passes, and see what every pass did.

    Exit codes: 0 ok, 1 a mistake in what was asked, 2 a pass failed.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


input_option = click.option(
    "--input",
    "inputs",
    metavar="SPEC",
    multiple=True,
    help="An input: [name=]2x3x224x224[:f16]; a size may be min..max or min..opt..max. Once for each input.",
)
profile_option = click.option(
    "--profile",
    "profiles",
    metavar="SPEC,…",
    multiple=True,
    help="The sizes of all inputs in an optimization profile, or name=SPEC for some. Once for each profile.",
)
set_option = click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    shell_complete=complete_settings,
    help="A setting, see `trt-passes run --help`.",
)
plugin_option = click.option(
    "--plugin",
    "plugins",
    metavar="MODULE",
    multiple=True,
    help="A Python module with converters of your own, see tp.converter; it is imported, which runs it.",
)
executor_option = click.option(
    "--executor",
    metavar="NAME",
    shell_complete=complete_executors,
    help="What runs the engines: auto, tensorrt, reference or pytorch.",
)
trust_option = click.option(
    "--trust", is_flag=True, help="Read a .pt2 that can run code: pickled objects, operators of others."
)


@main.command(cls=RunCommand, short_help="Compile a model and report on it.")
@click.argument("model", shell_complete=complete_files)
@click.option("--dump-dir", metavar="DIR", help="Folder for what every pass did: new, empty, or an earlier dump.")
@click.option("-p", "--pipeline", metavar="PIPELINE", help="Passes to run, such as decompose,lower,annotate,partition.")
@click.option(
    "--from", "from_", metavar="STAGE", shell_complete=complete_stages, help="MODEL is a dump: continue it from here."
)
@click.option("--weights", metavar="MODEL", help="The model that was dumped, for --from; its weights are checked.")
@click.option("--until", metavar="STAGE", shell_complete=complete_stages, help="Stop after this pass or stage.")
@input_option
@profile_option
@set_option
@plugin_option
@click.option(
    "--quantize",
    metavar="MODE[:MAX_ERROR]",
    help="Quantise first: fp8, int8, int8-weights or int4-weights, with the largest relative error of the results.",
)
@click.option("--check-numerics", is_flag=True, help="Compare outputs with the model's after every pass.")
@click.option("--tolerance", metavar="NUMBER", help="What --check-numerics allows, such as 1e-2.")
@click.option("--metric", metavar="FILE.py:NAME", help="A function (expected, found) that --check-numerics judges by.")
@executor_option
@click.option("-o", "--output", metavar="FILE", help="Save the compiled model here: .pt2, or .ts for TorchScript.")
@click.option("--json", "as_json", is_flag=True, help="Print only the report, as JSON, to stdout.")
@trust_option
@click.pass_obj
def run(started: float, /, model: str, **options: Any) -> None:
    """Compile MODEL and say what went to TensorRT, what did not, and why.

    MODEL is a .pt2 of torch.export, a TorchScript .pt (model.pt:encode for another method than forward), or
    file.py:factory or package.module:factory, where factory() returns a module and its example inputs. With --from it
    is the folder of a dump.
    """
    from .run import Request, run_model

    if options["weights"] is not None and options["from_"] is None:
        raise UserError("--weights is the model of a dump that is continued: give --from, or leave it out.")
    run_model(Request(model=model, command=_command(), started=started, **options))


@main.command(short_help="Hold a model to limits, for continuous integration.")
@click.argument("model", shell_complete=complete_files)
@click.option("--min-coverage", metavar="SHARE", help="Smallest share of op nodes in TensorRT, such as 0.98 or 98%.")
@click.option("--max-engines", metavar="N", help="Largest number of engines.")
@click.option("--max-error", metavar="ERROR", help="Largest relative L2 error of an output of the compiled model.")
@click.option("--baseline", metavar="DIR", help="A dump of an earlier run, whose nodes in TensorRT must all still be.")
@click.option("--junit", metavar="FILE", help="Write the results as JUnit XML, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--dump-dir", metavar="DIR", help="Folder for what every pass did: new, empty, or an earlier dump.")
@input_option
@set_option
@plugin_option
@executor_option
@trust_option
@click.pass_obj
def check(started: float, /, model: str, **options: Any) -> None:
    """Compile MODEL and compare it with limits: a table, and exit code 1 if one does not hold.

    Errors are those of the compiled model, on its example inputs, against the model in PyTorch: in TensorRT where there
    is a GPU, else by the reference executor, which evaluates the same networks.
    """
    from .check import check_model, parse_limits
    from .run import Request

    names = ("min_coverage", "max_engines", "max_error", "baseline")
    limits = parse_limits(**{name: options.pop(name) for name in names})
    junit, as_json = options.pop("junit"), options.pop("as_json")
    check_model(Request(model=model, command=_command(), started=started, **options), limits, junit, as_json)


@main.command(short_help="Show where the run time of a compiled model goes.")
@click.argument("model", metavar="MODEL|FILE.pt2", shell_complete=complete_files)
@click.option("--dump-dir", metavar="DIR", help="Folder for what every pass did, with the run time on its page.")
@click.option("--profile", "path", metavar="FILE", help="Write the profile here as JSON, for `diff`.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
@input_option
@set_option
@executor_option
@trust_option
@click.pass_obj
def profile(started: float, /, model: str, path: str | None, as_json: bool, **options: Any) -> None:
    """Run MODEL, compiled here or read from what `run -o` wrote, and show where its run time goes.

    On a GPU: every kernel, with TensorRT's layers, op nodes, modules and lines of the model that it is from, and what
    it would take at least. With --executor pytorch on a machine without one: PyTorch's operators on the CPU.
    """
    from .profile import profile_model
    from .run import Request

    profile_model(Request(model=model, command=_command(), started=started, **options), path, as_json)


@main.command(short_help="Find the operator that makes a model wrong, fail, or slow.")
@click.argument("model", shell_complete=complete_files)
@click.option(
    "--metric",
    default="relative-l2",
    metavar="NAME",
    shell_complete=complete_metrics,
    help="What to search for: relative-l2 or max-abs (numbers), failure, time or compile-time.",
)
@click.option("--tolerance", metavar="ERROR", help="Error of numbers above which they are wrong; 1e-2 by default.")
@click.option("-p", "--pipeline", metavar="PIPELINE", help="Passes to run, instead of the default ones.")
@click.option("-o", "--output", metavar="FILE", help="Write a Python script here that shows the fault alone.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@input_option
@set_option
@plugin_option
@trust_option
@click.pass_obj
def bisect(started: float, /, model: str, **options: Any) -> None:
    """Find which pass, which engine and which operators make MODEL wrong, fail, or slow.

    Numbers are compared with those of PyTorch on the example inputs. Nothing is compared before it is known to be
    right: an operator is at fault if it is wrong on the values that PyTorch computes for it.
    """
    from .bisect import bisect_model
    from .run import Request

    own = {name: options.pop(name) for name in ("metric", "tolerance", "output", "as_json")}
    bisect_model(Request(model=model, command=_command(), started=started, **options), **own)


@main.command(short_help="Measure the ways of computing a model's operators on this GPU.")
@click.argument("model", shell_complete=complete_files)
@click.option("-o", "--output", metavar="FILE", default="tuning.json", help="File to write or continue: tuning.json.")
@click.option("--seconds", metavar="N", default=300.0, show_default=True, help="Seconds to measure for.")
@input_option
@set_option
@trust_option
@click.pass_obj
def tune(started: float, /, model: str, output: str, seconds: float, **options: Any) -> None:
    """Measure the variants of MODEL's operators, for `compile(tuning=…)` and `run --set tuning=FILE` on any machine."""
    from .run import Request
    from .tune import tune_model

    tune_model(Request(model=model, command=_command(), started=started, **options), output, seconds)


@main.command(short_help="Explain a reason code, a dump's fallbacks, or a node.")
@click.argument("what", metavar="CODE|DIR", shell_complete=complete_codes)
@click.argument("node", required=False)
@click.option("--modules", is_flag=True, help="Print how much of each of the model's modules is in TensorRT.")
@click.option("--quantised", is_flag=True, help="Print the error of each layer that `--quantize` quantised.")
def explain(what: str, node: str | None, modules: bool, quantised: bool) -> None:
    """Explain a reason code such as TP203, the fallbacks in a dump folder, or one of its nodes."""
    from .dump import explain_code, explain_dump, explain_modules, explain_node, explain_quantised

    folder = os.path.isdir(what)
    about_all = "--modules" if modules else "--quantised" if quantised else ""
    if node is not None and (about_all or not folder):
        asked = f"{about_all} is about a whole dump" if about_all else f"{what!r} is no dump folder"
        raise UserError(f"{asked}, so there is no node {node!r} to explain: leave one of them out.")
    if modules:
        click.echo(explain_modules(what))
    elif quantised:
        click.echo(explain_quantised(what))
    elif folder:
        click.echo(explain_dump(what) if node is None else explain_node(what, node))
    else:
        click.echo(explain_code(what))


@main.command(short_help="Show what changed between two passes, or between two runs.")
@click.argument("folder", metavar="DIR")
@click.argument("before", metavar="PASS|DIR_B")
@click.argument("after", metavar="[PASS]", required=False)
@click.option("--fail-on-lost", is_flag=True, help="Exit with 1 if a node in TensorRT in DIR is not in DIR_B.")
@click.option("--json", "as_json", is_flag=True, help="Print the difference of two runs as JSON.")
def diff(folder: str, before: str, after: str | None, fail_on_lost: bool, as_json: bool) -> None:
    """Show how the graph after one pass differs from that after another; `input` is the graph before all.

    With two folders, show how the run in the second differs from that in the first. With two files that `profile`
    wrote, show how the run time differs, by line and by module.
    """
    from .dump import diff_passes, diff_runs, profiles_of

    if os.path.isfile(folder) and after is None:
        from .profile import diff_profiles

        if fail_on_lost:
            raise UserError("--fail-on-lost compares two runs, and these are profiles: give two dump folders.")
        click.echo(diff_profiles(folder, before, as_json))
        return

    if after is not None:
        if fail_on_lost or as_json:
            raise UserError("--fail-on-lost and --json compare two runs: give two dump folders instead of passes.")
        click.echo(diff_passes(folder, before, after))
        return
    text, lost = diff_runs(folder, before, as_json)
    click.echo(text)
    profiles = None if as_json else profiles_of(folder, before)
    if profiles is not None:
        from .profile import diff_profiles

        click.echo(diff_profiles(*profiles, as_json=False))
    if lost and fail_on_lost:
        raise UserError(lost)


@main.command(short_help="List the passes.")
def passes() -> None:
    """List the passes: what each does, needs and establishes, and its options."""
    from .catalog import passes_text

    click.echo(passes_text())


@main.command(short_help="List the operators that have converters.")
@click.argument("name", required=False)
def ops(name: str | None) -> None:
    """List the operators that TensorRT can be given and under which conditions, or show those of NAME."""
    from .catalog import operators_text

    click.echo(operators_text(name))


@main.command(short_help="Open a dump in the browser, or write it for another viewer.")
@click.argument("folder", metavar="DIR")
@click.option("--export", type=click.Choice(["model-explorer"]), help="Write files for this viewer instead.")
@click.option("-o", "--output", metavar="FILE", help="Where --export writes; by default into the dump.")
def view(folder: str, export: str | None, output: str | None) -> None:
    """Open a dump folder in the browser, or write its graphs and verdicts for Google's Model Explorer."""
    from .view import export_model_explorer, page_of

    if export is not None:
        for path in export_model_explorer(folder, output):
            click.echo(path)
        return
    if output is not None:
        raise UserError("-o names the file that --export writes: add --export model-explorer, or leave it out.")
    page = page_of(folder)
    click.echo(page)
    click.launch(str(page))


@main.command(short_help="Say what this machine can compile and run, and what it lacks.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def doctor(as_json: bool) -> None:
    """Say what is installed, whether an engine can be built and run here, and how to install what is missing."""
    from .doctor import doctor as examine

    examine(as_json)
