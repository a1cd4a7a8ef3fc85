"""The notebooks run, and what is committed of them came from a run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
SHORT = ("why-is-it-wrong",)
_MACHINE = re.compile(r"/(?:home|root|tmp|usr|opt|work|private|Users)/|[A-Z]:\\\\")


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) == 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_committed_after_a_run_from_top_to_bottom(path: Path) -> None:
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert any("image/svg+xml" in output.get("data", {}) for output in outputs)
    assert not _MACHINE.search(json.dumps(outputs))


@pytest.mark.model
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem in SHORT else [pytest.mark.long], id=path.stem) for path in NOTEBOOKS],
)
def test_a_notebook_runs(path: Path) -> None:
    """Its cells hold the assertions; what they print may differ between versions and machines."""
    pytest.importorskip("tensorrt_rtx")
    pytest.importorskip("nbclient")
    from docs.generator.notebooks import executed

    notebook = executed(path)
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source for cell in ran] == ["".join(cell["source"]) for cell in code_cells(path)]
    assert [cell.execution_count for cell in ran] == list(range(1, len(ran) + 1))
