"""`python -m trt_passes`: the command line."""

from __future__ import annotations

from .compiler.cli.main import main

main(prog_name="python -m trt_passes")
