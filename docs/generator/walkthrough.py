"""Excerpts and pictures of the run of examples/fallbacks.py, for the page that walks through its dump."""

from __future__ import annotations

import ast
import contextlib
import json
import runpy
import tempfile
from dataclasses import dataclass
from pathlib import Path

import trt_passes as tp
from trt_passes.compiler.report.dump_folder import DumpFolder
from trt_passes.compiler.report.node_story import node_story
from trt_passes.visualize import overview_picture, segment_picture

from .markdown import fenced, without_specs
from .pictures import dot_of

ROOT = Path(__file__).parents[2]
_EXPLAINED = "%_linalg_svd"
_GRAPH_LINES = ("%gt =", "%index =", "%linear =", "%gelu =", f"{_EXPLAINED} =")
_MANY = 12


@dataclass(frozen=True)
class Walkthrough:
    """What the pages show of the run: blocks of Markdown by name, and DOT texts by file name in images/."""

    blocks: dict[str, str]
    dots: dict[str, str]


def walkthrough() -> Walkthrough:
    """Run the example in the repository root, as its reader would, and cut out what the pages show."""
    with contextlib.chdir(ROOT), tempfile.TemporaryDirectory() as folder:
        module, inputs = runpy.run_path("examples/fallbacks.py")["model"]()
        report = tp.compile(module, inputs, dump_dir=folder, executor="pytorch").report
        dump = DumpFolder(folder)
        blocks = {
            "fallbacks-source": fenced(method_source("examples/fallbacks.py", "Detector", "forward"), "python"),
            "fallbacks-table": fenced(str(report.table())),
            "fallbacks-files": fenced(_tree(dump.path)),
            "fallbacks-why": fenced(dump.why),
            "fallbacks-why-first": fenced(_paragraphs(dump.why, 2)),
            "fallbacks-graph": fenced(_lines(_text(dump, "partition", "graph.txt"), _GRAPH_LINES)),
            "fallbacks-diff": fenced(_text(dump, "lower.fold-batch-norm", "change.diff"), "diff"),
            "fallbacks-story": fenced(node_story(dump, _EXPLAINED)),
            "fallbacks-modules": fenced(str(dump.coverage)),
            "fallbacks-ledger": fenced(_row(dump, _EXPLAINED.removeprefix("%")), "json"),
            "fallbacks-network": fenced(_head(_text(dump, "convert", "segment-01/network.txt"))),
            "fallbacks-splice": fenced(_calls(_text(dump, "splice", "graph.txt"))),
        }
    program = report.program
    dots = {
        "partition": dot_of(overview_picture(program), "examples/fallbacks.py"),
        "segment": dot_of(segment_picture(program, program.segments[-1])),
    }
    return Walkthrough(blocks, dots)


def method_source(file: str, cls: str, method: str) -> str:
    """The source text of a method, with its indentation taken off."""
    text = (ROOT / file).read_text(encoding="utf-8")
    owner = next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == cls)
    found = next(node for node in owner.body if isinstance(node, ast.FunctionDef) and node.name == method)
    lines = text.splitlines()[found.lineno - 1 : found.end_lineno]
    return "\n".join(line[found.col_offset :] for line in lines)


def _text(dump: DumpFolder, stage: str, file: str) -> str:
    path = next(item.path for item in dump.stages if item.name == stage)
    return (path / file).read_text(encoding="utf-8")


def _lines(text: str, beginnings: tuple[str, ...]) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith(beginnings))


def _paragraphs(text: str, count: int) -> str:
    return "\n\n".join(text.split("\n\n")[:count])


def _head(text: str) -> str:
    lines = text.splitlines()
    shown = [line if len(line) <= 160 else f"{line[:159]}…" for line in lines[:_MANY]]
    return "\n".join([*shown, f"… {len(lines) - _MANY} more lines"] if len(lines) > _MANY else shown)


def _calls(text: str) -> str:
    lines = (line for line in text.splitlines() if "get_attr" not in line and " = input" not in line)
    return without_specs("\n".join(lines))


def _row(dump: DumpFolder, node: str) -> str:
    return json.dumps(dump.ledger[node].to_json(), indent=1, ensure_ascii=False)


def _tree(path: Path) -> str:
    """The files of a dump, one folder per line."""
    lines = ["dump/"]
    files = sorted(item.name for item in path.iterdir() if item.is_file())
    lines.append(f"  {'  '.join(files)}")
    for folder in sorted(item for item in path.iterdir() if item.is_dir()):
        names = sorted(item.name for item in folder.iterdir() if item.is_file())
        inner = [item for item in sorted(folder.iterdir()) if item.is_dir()]
        lines.append(f"  {f'{folder.name}/':28}{'  '.join(names)}".rstrip())
        for item in inner:
            inside = sorted(file.name for file in item.iterdir())
            lines.append(f"    {f'{item.name}/':26}{'  '.join(inside)}")
    return "\n".join(lines)
