"""What a shell offers, as click's protocol asks for it, in a process without PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def offered(words: str) -> list[str]:
    environment = {
        **os.environ,
        "_TRT_PASSES_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    code = "from trt_passes.compiler.cli.main import main\nmain(prog_name='trt-passes')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("trt-passes doc", {"doctor"}),
        ("trt-passes run m.pt2 --set min_bl", {"min_block_size="}),
        ("trt-passes run m.pt2 --set dryrun=", {"dryrun=true", "dryrun=false"}),
        ("trt-passes run m.pt2 --set executor=r", {"executor=reference"}),
        ("trt-passes run m.pt2 --until par", {"partition"}),
        ("trt-passes run m.pt2 --executor te", {"tensorrt"}),
        ("trt-passes explain TP20", {f"TP20{digit}" for digit in range(1, 10)}),
        ("trt-passes run m.pt2 --set nothing=", set()),
    ],
)
def test_words(words: str, expected: set[str]) -> None:
    assert set(offered(words)) == expected
