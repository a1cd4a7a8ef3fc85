"""The Python entry points `trace` and `compile`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from .arguments import eager_module
from .errors import UserError, did_you_mean
from .frontends.exported_program import trace
from .instruments.dump import Dump
from .instruments.protocol import Instrument
from .instruments.verify import Verify
from .manager import PassManager
from .pass_base import Pass
from .pipeline import Pipeline, as_pipeline, default_pipeline
from .program import Program
from .report import Report
from .settings import Settings

__all__ = ["compile", "run", "trace"]

FRONTENDS = ("default", "dynamo")
"""Values of `ir` that `compile` takes."""


def compile(
    model: torch.nn.Module | ExportedProgram | Program,
    inputs: Sequence[Any] | None = None,
    *,
    kwarg_inputs: Mapping[str, Any] | None = None,
    ir: str = "default",
    pipeline: str | Pipeline | Sequence[Pass] | None = None,
    instruments: Sequence[Instrument] = (),
    **options: Any,
) -> GraphModule:
    """Compile a model to TensorRT.

    Args:
        model: an nn.Module in eval mode, an ExportedProgram, or a Program from `trace`.
        inputs: positional arguments as `tp.Input`s or example tensors, see `trace`; not needed for an ExportedProgram
            whose dynamic dimensions are bounded.
        kwarg_inputs: keyword arguments, likewise.
        ir: the front end; "default" and "dynamo" export the model ahead of time.
        pipeline: passes to run instead of the default ones, or their text.
        instruments: what to call around every pass, besides `Verify` and, with `dump_dir`, `Dump`.
        options: fields of `Settings`.

    Returns:
        A GraphModule with the model's own signature. `report` on it is the run's `Report`. With `dryrun=True` it runs
        everything in PyTorch.

    Raises:
        UserError: a mistake in the arguments, or a model that cannot be exported.
        PassFailure: a pass failed.
    """
    settings = Settings.from_options(options)
    if ir not in FRONTENDS:
        raise UserError(f"ir is {ir!r}.{did_you_mean(ir, FRONTENDS)}")
    chosen = default_pipeline() if pipeline is None else as_pipeline(pipeline)
    if settings.dryrun and pipeline is None:
        chosen = chosen.until("partition")
    report = run(trace(model, inputs, kwarg_inputs), chosen, settings, instruments)
    compiled = report.compiled if report.compiled is not None else eager_module(report.program)
    assert isinstance(compiled, GraphModule)
    # Not assigned plainly, since nn.Module declares its attributes as tensors and modules.
    object.__setattr__(compiled, "report", report)
    object.__setattr__(compiled, "_repr_mimebundle_", report._repr_mimebundle_)
    return compiled


def run(
    program: Program,
    pipeline: str | Pipeline | Sequence[Pass],
    settings: Settings,
    instruments: Sequence[Instrument] = (),
    command: str = "",
) -> Report:
    """Run a pipeline on a program with the instruments that the settings ask for; the report of the run."""
    asked: list[Instrument] = [Verify(), *instruments]
    if settings.dump_dir is not None:
        asked.append(Dump(settings.dump_dir))
    return PassManager(pipeline, asked, settings, command=command).run(program)
