"""Reading a dump folder for `trt-passes explain`, `diff` and `view`. Needs no PyTorch."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import UserError, did_you_mean
from .ledger import Ledger, LedgerRow, Verdict
from .reasons import REASON_CODES

_PASS_FOLDER = re.compile(r"(?P<index>\d+)-(?P<name>.+)")


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
    run_of(folder)
    path = Path(folder, "why.txt")
    if not path.exists():
        raise UserError(f"{folder} has no why.txt: its run stopped before annotate.")
    return path.read_text(encoding="utf-8").rstrip("\n")


def explain_node(folder: str, name: str) -> str:
    """Everything the ledger of a dumped run says about one node (given as `addmm` or `%addmm`)."""
    run_of(folder)
    path = Path(folder, "ledger.jsonl")
    if not path.exists():
        raise UserError(f"{folder} has no ledger.jsonl: its run stopped before annotate.")
    ledger = Ledger.from_jsonl(path.read_text(encoding="utf-8").splitlines())
    rows = {row.node: row for row in ledger}
    row = rows.get(name.removeprefix("%"))
    if row is None:
        raise UserError(f"{folder} has no op node {name!r}.{did_you_mean(name.removeprefix('%'), rows)}")
    return "\n".join(_row_lines(row))


def _row_lines(row: LedgerRow) -> list[str]:
    where = f" in {row.segment}" if row.segment else ""
    lines = [f"%{row.node} = {row.op}: {row.verdict}{where}"]
    lines += [f"  line:    {row.source}"] if row.source else []
    lines += [f"  module:  {row.module}"] if row.module else []
    lines += [f"  because: of %{row.because}"] if row.because else []
    for reason in row.reasons:
        known = REASON_CODES.get(reason.code)
        title = f"{known.title}: " if known else ""
        lines.append(f"  {reason.code}:   {title}{reason.message}")
        lines += [f"           What to do: {known.remedy}"] if known else []
    if row.verdict is Verdict.TRT:
        lines.append("  It runs in TensorRT.")
    return lines


def diff_passes(folder: str, before: str, after: str) -> str:
    """A unified diff between the graphs after two passes of a dumped run.

    A pass is named by its name, its stage (then its last pass), its number in the dump, or `input`.
    """
    run_of(folder)
    folders = pass_folders(folder)
    first, second = (_graph(folder, folders, name) for name in (before, after))
    lines = list(difflib.unified_diff(first, second, f"{before}/graph.txt", f"{after}/graph.txt", lineterm="", n=2))
    return "\n".join(lines) or f"the graphs after {before} and after {after} are the same."


def pass_folders(folder: str) -> list[Path]:
    """The folders of a dump's passes, in the order they ran, `00-input` first."""
    found = [path for path in Path(folder).iterdir() if path.is_dir() and _PASS_FOLDER.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.split("-")[0]))


def _graph(folder: str, folders: Sequence[Path], name: str) -> list[str]:
    """The graph after a pass; a pass that changed nothing wrote none, so it is that of the last one that did."""
    position = _position(folder, folders, name)
    for path in reversed(folders[: position + 1]):
        graph = path / "graph.txt"
        if graph.exists():
            return graph.read_text(encoding="utf-8").splitlines()
    raise UserError(f"{folder} holds no graph.txt up to {name}: write the dump again.")


def _position(folder: str, folders: Sequence[Path], name: str) -> int:
    known: list[str] = []
    for index in range(len(folders) - 1, -1, -1):
        match = _PASS_FOLDER.fullmatch(folders[index].name)
        assert match is not None
        number, label = match["index"], match["name"]
        numbered = name.isdecimal() and int(name) == int(number)
        if numbered or name in (label, label.split(".")[0], folders[index].name):
            return index
        known.append(label)
    raise UserError(f"{folder} has no pass {name!r}.{did_you_mean(name, known)}")


def page_of(folder: str) -> str:
    """The page of a dump to look at: its index.html, else its overview picture."""
    run_of(folder)
    candidates = [Path(folder, "index.html"), *sorted(Path(folder).glob("*/overview.svg"))]
    for path in candidates:
        if path.exists():
            return str(path)
    raise UserError(f"{folder} holds no picture: its run stopped before partition.")


def run_of(folder: str) -> dict[str, Any]:
    """The `run.json` of a dump folder.

    Raises:
        UserError: there is no such folder, or it is not a dump.
    """
    path = Path(folder, "run.json")
    if not Path(folder).is_dir():
        raise UserError(f"there is no folder {folder}: make one with `trt-passes run MODEL --dump-dir {folder}`.")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} is not a dump folder: it has no run.json.") from None
    except ValueError as error:
        raise UserError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(run, dict) or "schema" not in run:
        raise UserError(f"{folder} is not a dump folder: its run.json has no schema version.")
    return run
