"""The command `trt-passes check`: a model held to limits, for continuous integration."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from rich.text import Text
from torch.utils import _pytree as pytree

from ..errors import UserError, on_one_line
from ..frontends.exported_program import example_arguments
from ..report.dump_folder import DumpFolder, reading
from ..report.report import Report
from ..report.run_diff import compare_runs
from ..report.script_report import ScriptReport
from ..runtime.measure.distance import distance
from ..runtime.program_arguments import call_arguments, eager_module
from .junit import write_junit
from .run import Done, Request, perform
from .tables import Titled, print_tables, share_text


@dataclass(frozen=True)
class Limits:
    """What a model is held to; None for what is not asked.

    Attributes:
        min_coverage: smallest share of op nodes in TensorRT, 0 to 1.
        max_engines: largest number of engines.
        max_error: largest relative L2 error of an output.
        baseline: the dump of an earlier run, whose nodes in TensorRT must still be there.
    """

    min_coverage: float | None = None
    max_engines: int | None = None
    max_error: float | None = None
    baseline: str | None = None


class Result(NamedTuple):
    """One limit and what was found; `failure` is the sentence that says why it does not hold, "" if it does."""

    name: str
    wanted: str
    found: str
    failure: str


def parse_limits(
    min_coverage: str | None = None,
    max_engines: str | None = None,
    max_error: str | None = None,
    baseline: str | None = None,
) -> Limits:
    """Limits from texts of the command line.

    Raises:
        UserError: a text is no number of the kind, nothing is asked, or the baseline is no dump.
    """
    if baseline is not None:
        DumpFolder(baseline)
    limits = Limits(
        None if min_coverage is None else _share("--min-coverage", min_coverage),
        None if max_engines is None else _count("--max-engines", max_engines),
        None if max_error is None else _error("--max-error", max_error),
        baseline,
    )
    if limits == Limits():
        raise UserError("there is nothing to check: give --min-coverage, --max-engines, --max-error or --baseline.")
    return limits


def check_model(request: Request, limits: Limits, junit: str | None = None, as_json: bool = False) -> None:
    """Compile a model, print how it compares with the limits, and write that as JUnit XML if a file is named.

    Raises:
        UserError: a limit does not hold, or something else was a mistake of the user's.
        PassFailure: a pass failed.
    """
    if junit is not None and not Path(junit).absolute().parent.is_dir():
        raise UserError(f"--junit {junit}: there is no folder {Path(junit).parent}: create it first.")
    same = limits.baseline is not None and request.dump_dir is not None
    if same and Path(limits.baseline or "").resolve() == Path(request.dump_dir or "").resolve():
        raise UserError(f"--baseline and --dump-dir are both {request.dump_dir}: dump into another folder.")
    try:
        with _dumped(request, limits) as dumped:
            done = perform(dumped)
            results = list(_results(done, limits, dumped.dump_dir))
    except Exception as error:
        if junit is not None:
            write_junit(Path(junit), request.model, [("compile", str(error) or type(error).__name__)])
        raise
    if junit is not None:
        write_junit(Path(junit), request.model, [(row.name, row.failure) for row in results])
    _print(request.model, results, done.report, as_json)
    failed = [row.failure for row in results if row.failure]
    if failed:
        raise UserError(f"{request.model} is not within its limits: {'; '.join(failed)}.")


@contextmanager
def _dumped(request: Request, limits: Limits) -> Iterator[Request]:
    """The request with a folder for the dump that a comparison with a baseline needs."""
    reference = request.executor is None and not torch.cuda.is_available()
    request = replace(request, executor="reference") if reference and limits.max_error is not None else request
    if request.dump_dir is not None or limits.baseline is None:
        yield request
        return
    with tempfile.TemporaryDirectory() as folder:
        yield replace(request, dump_dir=str(Path(folder, "dump")))


def _results(done: Done, limits: Limits, dump_dir: str | None) -> Iterator[Result]:
    report = done.report
    total, trt = len(report.ledger), report.verdicts["trt"]
    if limits.min_coverage is not None:
        found, wanted = share_text(trt, total), f"at least {100 * limits.min_coverage:g} %"
        low = report.coverage < limits.min_coverage
        text = f"coverage is {found} ({trt} of {total} op nodes) and should be {wanted}" if low else ""
        yield Result("coverage", wanted, found, text)
    if limits.max_engines is not None:
        count, wanted = len(report.segments), f"at most {limits.max_engines}"
        text = f"there are {count} engines and should be {wanted}" if count > limits.max_engines else ""
        yield Result("engines", wanted, str(count), text)
    if limits.max_error is not None:
        output, worst = max(output_errors(done).items(), key=lambda item: item[1], default=("", 0.0))
        wanted = f"at most {limits.max_error:g}"
        text = "" if worst <= limits.max_error else f"the error of {output} is {worst:.1e} and should be {wanted}"
        yield Result("error", wanted, f"{worst:.1e}", text)
    if limits.baseline is not None and dump_dir is not None:
        with reading(limits.baseline, dump_dir):
            before = DumpFolder(limits.baseline)
            lost = compare_runs(before, DumpFolder(dump_dir))
        if lost.removed and len(lost.removed) == len(list(before.ledger)):
            raise UserError(
                f"the baseline {limits.baseline} is of another model: none of its {len(lost.removed)} op nodes is in "
                "this one. Give the dump of an earlier run of this model."
            )
        yield Result("lost nodes", "0", str(len(lost.lost)), lost.lost_text.rstrip("."))


def output_errors(done: Done) -> Mapping[str, float]:
    """The relative L2 error of every output of a compiled model on the example inputs of the model.

    Raises:
        UserError: the run ended before the model was compiled, or the model cannot run on its examples.
    """
    compiled: Any = done.compiled
    if compiled is None:
        raise UserError("--max-error needs the compiled model, and the run ended before splice: leave out dryrun.")
    model, arguments = _reference(done)
    with torch.no_grad():
        try:
            expected = _outputs(model, arguments)
        except Exception as error:
            raise UserError(
                f"there is nothing to compare with: the model itself raises {type(error).__name__} on its example "
                f"inputs: {on_one_line(error)}."
            ) from error
        if torch.cuda.is_available():
            compiled = copy.deepcopy(compiled).to("cuda")  # it shares its weights with the model
            arguments = pytree.tree_map(lambda x: x.cuda() if isinstance(x, torch.Tensor) else x, arguments)
        found = _outputs(compiled, arguments)
    return {name: distance(value, found[name])[1] for name, value in expected.items()}


def _reference(done: Done) -> tuple[Any, tuple[tuple[Any, ...], dict[str, Any]]]:
    """The model in PyTorch, and arguments to call it with."""
    if done.program is not None:
        return eager_module(done.program), call_arguments(done.program)
    module = done.model.module
    assert isinstance(module, torch.nn.Module)
    return module, example_arguments(module, done.model.args, done.model.kwargs)


def _outputs(module: Any, arguments: tuple[tuple[Any, ...], Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    args, kwargs = pytree.tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, arguments)
    leaves = pytree.tree_flatten_with_path(module(*args, **kwargs))[0]
    return {f"output{pytree.keystr(path)}": leaf for path, leaf in leaves if isinstance(leaf, torch.Tensor)}


def _print(model: str, results: list[Result], report: Report | ScriptReport, as_json: bool) -> None:
    if as_json:
        rows = [{**row._asdict(), "passed": not row.failure} for row in results]
        click.echo(json.dumps({"model": model, "checks": rows, "report": report.to_json()}, indent=1))
        return
    good, bad = Text("passed", style="green"), Text("failed", style="bold red")
    cells = [(row.name, row.wanted, row.found, bad if row.failure else good) for row in results]
    print_tables([Titled(model, ("check", "wanted~", "found>", "result"), cells)], (f"note: {n}" for n in report.notes))


def _number(option: str, text: str, wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value:
        raise UserError(f"{option} is {text!r}: give {wanted}.")
    return value


def _share(option: str, text: str) -> float:
    wanted = "a share such as 0.98, or 98%"
    percent = text.strip().endswith("%")
    value = _number(option, text.strip().removesuffix("%"), wanted) / (100 if percent else 1)
    if not 0 <= value <= 1:
        raise UserError(f"{option} is {text!r}: give {wanted}, from 0 to 1.")
    return value


def _count(option: str, text: str) -> int:
    if not text.strip().isdecimal():
        raise UserError(f"{option} is {text!r}: give a whole number.")
    return int(text)


def _error(option: str, text: str) -> float:
    value = _number(option, text, "a number such as 1e-2")
    if value < 0:
        raise UserError(f"{option} is {text!r}: give a number such as 1e-2, not below 0.")
    return value
