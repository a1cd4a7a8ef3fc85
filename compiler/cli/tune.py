"""The command `trt-passes tune`."""

from __future__ import annotations

import sys

import click
import torch

from ...tuning.timing import timed
from ...tuning.tune import known_tuning, tune_program, usual_program
from ..errors import UserError
from ..frontends.load_model import load_model
from ..instruments.progress import Progress
from ..pass_base import Context
from ..report.versions import versions
from ..settings import Settings
from .run import Request


def tune_model(request: Request, output: str, seconds: float) -> None:
    """Measure the variants of a model's operators on this GPU, and write the file.

    Raises:
        UserError: there is no GPU, or a mistake in the request.
    """
    settings = Settings.from_texts(request.settings).updated({"executor": "tensorrt"})
    if not torch.cuda.is_available():
        raise UserError(
            "tune measures on a GPU, and this machine has none that PyTorch can use: run it on one, and give the file "
            "to `trt-passes run --set tuning=FILE` here."
        )
    model = load_model(request.model, request.trust).with_inputs(request.inputs)
    known = known_tuning(output, torch.cuda.get_device_name(), versions())
    with Progress(sys.stderr) as progress:
        program = usual_program(model.module, list(model.args), model.kwargs)
        context = progress.context(Context())
        tuning = tune_program(program, settings, known, timed, torch.device("cuda"), output, seconds, context.progress)
    new = len(tuning.patterns) - len(known.patterns)
    click.echo(f"measured {new} patterns, {len(tuning.patterns)} are known: wrote {output}")
