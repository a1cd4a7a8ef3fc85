"""Execute the notebooks of the docs and keep their outputs: `python -m docs.generator.notebooks`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
TIMEOUT = 300
"""Seconds that a cell may take, on a busy machine."""


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook, run from its first to its last cell in an empty folder.

    Raises:
        CellExecutionError: a cell raised.
    """
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder:
        # The command line of this environment, and none of the deprecation warnings of libraries.
        places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        env = {**os.environ, "PATH": os.pathsep.join(places), "PYTHONWARNINGS": "ignore::FutureWarning"}
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources=place).execute(env=env)
    return without_traces(notebook)


def without_traces(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without times, and without what an environment writes into it."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for index, cell in enumerate(notebook.cells):
        cell.metadata = {}
        cell.id = f"cell-{index:02}"
    return notebook


def main() -> None:
    """Execute all notebooks, and write them with their outputs."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = executed(path)
        text = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
        path.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
