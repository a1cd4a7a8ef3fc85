"""The command `trt-passes bisect`: find the pass, the engine and the operator, and write a script."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import click

from ...debug.bisect import bisect_program
from ...debug.bisection import Bisection, check_metric
from ..errors import UserError
from ..pass_base import Context
from .defaults import project_defaults
from .run import Request, pipeline_of, settings_of, traced


def bisect_model(request: Request, metric: str, tolerance: str | None, output: str | None, as_json: bool) -> Bisection:
    """Search, print what was found, and write the script if a file is named.

    Raises:
        UserError: a mistake in the request, or nothing can be written to `output`.
    """
    limit = check_metric(metric, tolerance)
    settings = settings_of(request, project_defaults())
    pipeline = pipeline_of(request, settings)
    if output is not None:
        _check_output(output)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch|copyreg")  # about PyTorch's own code
        program = traced(request, settings)
        found = bisect_program(program, metric, limit, pipeline, Context(settings=settings))
    if output is not None and found.script:
        found.write(output)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
        return found
    click.echo(str(found))
    if found.script:
        click.echo(f"wrote {output}" if output is not None else "give -o FILE for a script that shows it alone")
        for text in found.lacking:
            click.echo(f"{output or 'the script'} does not run alone yet. {text}")
    return found


def _check_output(output: str) -> None:
    path = Path(output)
    if path.is_dir():
        raise UserError(f"-o {output} is a folder: name a file.")
    if not path.absolute().parent.is_dir():
        raise UserError(f"-o {output}: there is no folder {path.parent}: create it first.")
    if not os.access(path.absolute().parent, os.W_OK):
        raise UserError(f"-o {output}: the folder {path.parent} is not writable.")
