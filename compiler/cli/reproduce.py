"""What the script in a reproducer's folder calls."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ..instruments.numerics import NumericsAgain
from ..instruments.protocol import Instrument
from ..instruments.reproducer import EVIDENCE, load
from ..instruments.verify import Verify
from ..manager import PassManager
from ..pass_base import Pass, with_converters
from ..pipeline import Pipeline
from ..report.report import Report
from ..tensorrt.registry import Converter


def reproduce(
    folder: Path,
    passes: Sequence[type[Pass] | Pass] = (),
    weights: str | None = None,
    instruments: Sequence[Instrument] = (),
    converters: Sequence[Converter] = (),
) -> Report:
    """Run what failed once more, strictly, with the checks of its results that the run made.

    Args:
        folder: of the reproducer.
        passes: passes of the user's own that its pipeline names.
        weights: path of a saved state dict, for a reproducer without weights.
        instruments: of the user's own.
        converters: likewise.
    """
    program, settings, pipeline = load(folder)
    if weights is not None:
        known = program.exported.state_dict
        for name, tensor in torch.load(weights, map_location="cpu").items():
            if isinstance(known.get(name), torch.nn.Parameter):
                known[name] = torch.nn.Parameter(tensor, known[name].requires_grad)
            elif name in known:
                known[name] = tensor
    checks: list[Instrument] = [Verify(), *instruments]
    if (folder / EVIDENCE).exists():
        checks.append(NumericsAgain(torch.load(folder / EVIDENCE, map_location="cpu"), program))
    strict = settings.updated({"strict": True})
    ctx = with_converters(converters, strict)
    report = PassManager(Pipeline.parse(pipeline, passes), checks, ctx=ctx).run(program)
    print(f"{pipeline} ran without a failure this time.", file=sys.stderr)
    return report
