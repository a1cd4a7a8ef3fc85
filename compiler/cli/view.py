"""The command `trt-passes view`: a dump's page in the browser, or written for another viewer."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import UserError
from ..report.dump_folder import DumpFolder, reading


def page_of(folder: str) -> Path:
    """The page of a dump to look at: its index.html, else its overview picture.

    Raises:
        UserError: the folder is no dump, or its run ended before either was written.
    """
    path = DumpFolder(folder).path
    for page in (path / "index.html", *sorted(path.glob("*/overview.svg"))):
        if page.exists():
            return page
    raise UserError(f"{folder} holds no page: its run did not end in order; write the dump again.")


def export_model_explorer(folder: str, output: str | None = None) -> tuple[Path, Path]:
    """Write a dump's graphs and verdicts for Google's Model Explorer.

    Args:
        folder: the dump.
        output: the file for the graphs; by default `model-explorer.json` in the dump. Verdicts go beside it, as
            `….verdicts.json`.

    Returns:
        The file of the graphs, and that of the node data.

    Raises:
        UserError: the dump has no page to read the run from, or a file cannot be written.
    """
    from ...visualize.model_explorer import graph_collection, verdict_data
    from ...visualize.page import data_of

    dump = DumpFolder(folder)
    dump.check_is_one()
    page = dump.path / "index.html"
    try:
        data = data_of(page.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{page} cannot be read as the page of a dump ({error}): write the dump again.") from error
    graphs = Path(output) if output is not None else page.with_name("model-explorer.json")
    verdicts = graphs.with_name(f"{graphs.stem}.verdicts.json")
    with reading(folder):
        collection, values = graph_collection(data, page.parent.resolve().name), verdict_data(data)
    _write(graphs, collection)
    _write(verdicts, values)
    return graphs, verdicts


def _write(path: Path, data: object) -> None:
    from ..instruments.dump_files import write_text

    try:
        write_text(path, f"{json.dumps(data, indent=1, ensure_ascii=False)}\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; name another file with -o.") from error
