"""The search of the page on debugging: a converter that is wrong on purpose, and what `trt-passes bisect` says."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

from click.testing import CliRunner
from trt_passes.compiler.cli.main import main

from .markdown import fenced

MODEL = '''import torch


class Scores(torch.nn.Module):
    """Layers with a tanh between them: f32[4,8] -> f32[4,4]."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (torch.nn.Linear(8, size) for size in (8, 8, 4))

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.tanh(self.second(x))
        return torch.softmax(self.third(x), -1)


def factory():
    torch.manual_seed(0)
    return Scores().eval(), (torch.linspace(-4, 4, 32).reshape(4, 8),)
'''
"""model.py"""

WRONG = """import torch
import trt_passes as tp


@tp.converter(torch.ops.aten.tanh.default)
def convert_tanh(ctx, call):
    x = ctx.tensor(call.arg("self"))
    return tp.arithmetic.unary(ctx, "ATAN", x, "tanh")  # it looks alike
"""
"""own.py"""

COMMAND = "trt-passes bisect model.py:factory --plugin own -o reproduce.py"


def bisect_blocks() -> dict[str, str]:
    """Blocks of Markdown by name: the converter, and what the command prints."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        Path("model.py").write_text(MODEL, encoding="utf-8")
        Path("own.py").write_text(WRONG, encoding="utf-8")
        try:
            done = CliRunner().invoke(main, COMMAND.split()[1:])
        finally:
            sys.modules.pop("own", None)
        if done.exit_code:
            raise SystemExit(done.output)
    return {"bisect-converter": fenced(WRONG.strip(), "python"), "bisect": fenced(f"$ {COMMAND}\n{done.output}")}
