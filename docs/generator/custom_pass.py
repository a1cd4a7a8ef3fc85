"""Excerpts of examples/custom_pass.py and of what it prints."""

from __future__ import annotations

import contextlib
import io
import re
import runpy

from .markdown import fenced
from .walkthrough import ROOT

FILE = ROOT / "examples" / "custom_pass.py"


def custom_pass_blocks() -> dict[str, str]:
    """Blocks of Markdown by name: the file, and the output of running it."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path(str(FILE), run_name="__main__")
    source = FILE.read_text(encoding="utf-8")
    body = re.search(r"^@dataclass.*?(?=^def main)", source, re.DOTALL | re.MULTILINE)
    main = re.search(r"^def main.*?(?=^if __name__)", source, re.DOTALL | re.MULTILINE)
    assert body is not None
    assert main is not None
    return {
        "custom-pass": fenced(body[0].strip(), "python"),
        "custom-pass-run": fenced(main[0].strip(), "python"),
        "custom-pass-output": fenced(printed.getvalue()),
    }
