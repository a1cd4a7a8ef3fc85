"""The worked example of the page on partitioning: the levels of the nodes of a model, and the segments."""

from __future__ import annotations

import contextlib
import runpy
from collections.abc import Iterator

import trt_passes as tp
from trt_passes.compiler.ir.annotations import reasons_of, segment_of, verdict_of
from trt_passes.compiler.ir.dependencies import dependency_graph
from trt_passes.compiler.ir.ledger import Verdict
from trt_passes.compiler.ir.text import op_name
from trt_passes.passes.partition.levels import LevelGraph
from trt_passes.visualize import overview_picture, program_picture

from .markdown import fenced, table
from .pictures import dot_of
from .walkthrough import ROOT, method_source

FILE = "examples/two_paths.py"


def partitioned(min_block_size: int) -> tp.Report:
    """The example up to `partition`."""
    settings = tp.Settings(min_block_size=min_block_size)
    with contextlib.chdir(ROOT):
        program = tp.trace(*runpy.run_path(FILE)["model"]())
        return tp.PassManager("decompose,lower,annotate,partition", settings=settings).run(program)


def partition_blocks() -> dict[str, str]:
    """Blocks of Markdown by name."""
    fine, coarse = partitioned(1), partitioned(4)
    demoted = next(node for node in coarse.program.op_nodes if verdict_of(node) is Verdict.DEMOTED)
    (reason,) = reasons_of(demoted)
    return {
        "partition-source": fenced(method_source(FILE, "TwoPaths", "forward"), "python"),
        "partition-levels": table(("node", "operator", "runs in", "levels", "segment"), _rows(fine.program)),
        "partition-table": fenced(str(fine.table())),
        "partition-demoted": fenced(
            f"{coarse.table()}\n\n%{demoted.name}: {reason.code}: {reason.message}",
        ),
    }


def partition_dots() -> dict[str, str]:
    """DOT texts by file name in images/."""
    fine, coarse = partitioned(1), partitioned(4)
    return {
        "two-paths": dot_of(program_picture(fine.program), "verdicts"),
        "two-paths-segments": dot_of(overview_picture(fine.program), "min_block_size=1"),
        "two-paths-demoted": dot_of(overview_picture(coarse.program), "min_block_size=4"),
    }


def _rows(program: tp.Program) -> Iterator[tuple[str, ...]]:
    wanted = {node.name for node in program.op_nodes if verdict_of(node) is Verdict.TRT}
    levels = LevelGraph(dependency_graph(program, wanted), wanted)
    earliest = levels.earliest()
    count = 1 + max(earliest[index] for index in levels.trt_nodes())
    latest = levels.latest(count)
    for name, first, last in zip(levels.names, earliest, latest, strict=True):
        node = program.node(name)
        if node.op == "call_function":
            in_trt = name in wanted
            span = "" if not in_trt else str(first) if first == last else f"{first} or {last}"
            place = "TensorRT" if in_trt else "PyTorch"
            yield f"`%{name}`", f"`{op_name(node.target)}`", place, span, segment_of(node) or ""
