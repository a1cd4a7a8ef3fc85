"""The blocks of a TorchScript model with their engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.fx import GraphModule

from ...instruments.script_dump import block_folder
from ...ir.program import Program
from ...report.report import Report
from ...runtime.engine_graph import SPLICED
from ...runtime.saving.output_formats import torchscript_of
from ...settings import Settings
from .block import Block

Compile = Callable[[str, Program, Settings], GraphModule]
"""Runs the pipeline on the block of a name."""


@dataclass(frozen=True, eq=False)
class Built:
    """A block with its name, the report of its run, and the ScriptModule that runs it; None where it has no engine."""

    name: str
    block: Block
    report: Report
    script: torch.jit.ScriptModule | None
    compiled: GraphModule


@dataclass
class Builds:
    """Builds blocks, and gives them names."""

    settings: Settings
    compiled: Compile
    count: int = 0

    def built(self, block: Block, settings: Settings) -> Built:
        """A block with its engines, made with settings of its own.

        Raises:
            UserError: TorchScript cannot call them.
        """
        name = f"block_{self.count:02}"
        if settings.dump_dir is not None:
            settings = settings.updated({"dump_dir": block_folder(settings.dump_dir, name)})
        compiled = self.compiled(name, block.program, settings)
        report: Report = vars(compiled)["report"]
        script = None
        if report.segments and report.compiled is not None:
            script = torchscript_of(compiled, compiled.meta.get(SPLICED, report.program.exported))
        self.count += 1
        return Built(name, block, report, script, compiled)
