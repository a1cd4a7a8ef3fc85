"""The folder of a TorchScript model in blocks: one dump a block, and what is said of all of them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Collection
from pathlib import Path

from ..report.coverage import module_coverage
from ..report.script_report import ScriptReport
from .dump_files import as_user_error, clear_folder, remove_dumps, write_text

_BLOCK = re.compile(r"block-\d{2,}")


def begin_script_dump(folder: str) -> None:
    """Make the folder, and remove what an earlier run, also one of the whole model, wrote into it.

    Raises:
        UserError: the folder is not ours, or not writable.
    """
    root = Path(folder)
    with as_user_error(root):
        clear_folder(root)
        remove_blocks(root, ())


def block_folder(folder: str, name: str) -> str:
    """Where the block of that name, such as "block_00", writes its dump."""
    return str(Path(folder) / name.replace("_", "-"))


def write_script_dump(folder: str, report: ScriptReport) -> None:
    """Write what is known of the whole run, beside the folders of the blocks.

    `run.json`, `ledger.jsonl`, `why.txt` and `coverage.csv` are those of a model that is one program, with nodes and
    segments called "block_00/relu"; `index.html` leads to the pages of the blocks.

    Raises:
        UserError: the disk is full.
    """
    root = Path(folder)
    with as_user_error(root):
        remove_blocks(root, [block.name for block in report.blocks])
        write_text(root / "ledger.jsonl", report.ledger.to_jsonl())
        write_text(root / "why.txt", report.why())
        write_text(root / "coverage.csv", module_coverage(report.ledger).to_csv())
        write_text(root / "index.html", _page(report))
        write_text(root / "run.json", f"{json.dumps(report.to_json(), indent=1, ensure_ascii=False)}\n")


def remove_blocks(root: Path, kept: Collection[str]) -> None:
    """Remove the dumps of blocks that are not `kept`; what is no dump, or no part of one, stays."""
    names = {name.replace("_", "-") for name in kept}
    remove_dumps(path for path in root.glob("block-*") if _BLOCK.fullmatch(path.name) and path.name not in names)


def _page(report: ScriptReport) -> str:
    rows = []
    for block in report.blocks:
        name = block.name.replace("_", "-")
        counts = block.report.verdicts
        place = "runs" if block.runs else "has no engine, and stays TorchScript"
        rows.append(
            f'<li><a href="{name}/index.html">{name}</a>: {counts["trt"]} of {sum(counts.values())} op nodes in '
            f"TensorRT; it {place}.</li>"
        )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>TorchScript in blocks</title>\n'
        "<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; "
        "color-scheme: light dark } pre { white-space: pre-wrap }</style></head>\n<body>\n"
        f"<h1>TorchScript in {len(report.blocks)} blocks</h1>\n<ul>\n{chr(10).join(rows)}\n</ul>\n"
        f"<h2>What stayed TorchScript</h2>\n<pre>{html.escape(report.why())}</pre>\n</body></html>\n"
    )
