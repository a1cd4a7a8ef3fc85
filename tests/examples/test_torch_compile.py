from __future__ import annotations

from pathlib import Path

import pytest
import torch

from examples.torch_compile import main


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:TensorRT engines run in PyTorch here")
def test_the_example_compiles_two_graphs_and_their_dynamic_versions(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    torch._dynamo.reset()
    backend = main(str(tmp_path / "dump"))
    assert [graph.name for graph in backend.graphs] == ["graph-00", "graph-01", "graph-00-1", "graph-01-1"]
    assert sorted(path.name for path in (tmp_path / "dump").iterdir()) == sorted(g.name for g in backend.graphs)
    printed = capsys.readouterr().out
    assert "dynamo recompiled 2 graphs" in printed
    assert "batch 5: 4 graphs, largest error 0.0" in printed or "e-0" in printed
