"""What `trt-passes explain`, `diff` and `view` say about dump folders. Needs no PyTorch."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..errors import UserError, did_you_mean
from ..ir.graph_diff import graph_diff
from ..ir.reasons import REASON_CODES
from ..report.dump_folder import DumpFolder, reading
from ..report.node_story import node_story
from ..report.run_diff import compare_runs
from ..report.table import Table

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def explain_code(code: str) -> str:
    """What a reason code means and what to do about it.

    Raises:
        UserError: there is no such code (nor dump folder, which is what else can be explained).
    """
    row = REASON_CODES.get(code.upper())
    if row is None:
        if re.fullmatch(r"(?i)tp\d*", code):
            raise UserError(f"there is no reason code {code!r}.{did_you_mean(code.upper(), REASON_CODES)}")
        raise UserError(f"{code!r} is neither a reason code such as TP203 nor a dump folder.")
    return f"{row.code} {row.title} (verdict: {row.verdict})\n\n  {row.meaning}\n  What to do: {row.remedy}"


def explain_dump(folder: str) -> str:
    """Why nodes of a dumped run fell back, as its `why.txt` has it."""
    with reading(folder):
        return printable(DumpFolder(folder).why.rstrip("\n"))


def explain_node(folder: str, name: str) -> str:
    """One node of a dumped run: where it came from, what each pass made of it, its verdict and where it runs.

    Nodes of a TorchScript model in blocks are called "block_00/relu", and are explained by the dump of their block.
    """
    with reading(folder):
        block, separator, inner = name.removeprefix("%").partition("/")
        if separator and "blocks" in DumpFolder(folder).run and re.fullmatch(r"block_\d+", block):
            return printable(node_story(DumpFolder(str(Path(folder) / block.replace("_", "-"))), inner))
        return printable(node_story(DumpFolder(folder), name))


def explain_modules(folder: str) -> str:
    """Coverage of a dumped run as a tree of the user's modules, with errors and seconds where they were measured."""
    with reading(folder):
        return printable(str(DumpFolder(folder).coverage))


def explain_quantised(folder: str) -> str:
    """The error of every layer of a dumped run that was quantised, and why others were not.

    Raises:
        UserError: nothing was quantised.
    """
    with reading(folder):
        found = DumpFolder(folder).quantisation
        if found is None:
            raise UserError(f"{folder} has no errors of layers, since its model was not made by `tp.quantize`.")
        rows = tuple((layer.name, layer.kind, layer.error_text, layer.reason) for layer in found.worst_first)
        table = Table(("layer", "class", "relative error>", "why it stays as it is"), rows)
        return printable(f"{found.summary}.\n\n{table}")


def diff_passes(folder: str, before: str, after: str) -> str:
    """How the graph after one pass of a dumped run differs from that after another, see `DumpFolder.graph_after`."""
    with reading(folder):
        dump = DumpFolder(folder)
        names = (f"{before}/graph.txt", f"{after}/graph.txt")
        text = graph_diff(dump.graph_after(before), dump.graph_after(after), names)
    return printable(text.rstrip("\n")) or f"the graphs after {before} and after {after} are the same."


def diff_runs(before: str, after: str, as_json: bool = False) -> tuple[str, str]:
    """How one dumped run differs from another, as text or JSON; and a sentence on lost coverage, "" if none was."""
    with reading(before, after):
        difference = compare_runs(DumpFolder(before), DumpFolder(after))
        text = json.dumps(difference.to_json(), indent=1, ensure_ascii=False) if as_json else str(difference)
        return printable(text), printable(difference.lost_text)


def profiles_of(before: str, after: str) -> tuple[str, str] | None:
    """The profiles in two dump folders; None unless both have one."""
    paths = tuple(str(Path(folder) / "profile.json") for folder in (before, after))
    return (paths[0], paths[1]) if all(Path(path).is_file() for path in paths) else None


def printable(text: str) -> str:
    """Text of a dump without what a terminal takes for a command."""
    return _CONTROL.sub("\ufffd", text)
