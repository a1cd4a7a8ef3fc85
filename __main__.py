"""`python -m trt_passes`: the command line."""

from __future__ import annotations

from trt_passes.compiler.cli.main import main

main(prog_name="python -m trt_passes")
