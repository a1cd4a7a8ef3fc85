"""The export to Model Explorer, against the format that its `graph_builder` and `node_data_builder` document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.cli.view import export_model_explorer, page_of
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.ir.ledger import Ledger

Exported = tuple[Ledger, dict[str, Any], dict[str, Any]]

PAIR = {"key": str, "value": str}
EDGE = {"sourceNodeId": str, "sourceNodeOutputId": str, "targetNodeInputId": str}
NODE = {
    "id": str,
    "label": str,
    "namespace": str,
    "attrs": [PAIR],
    "incomingEdges": [EDGE],
    "outputsMetadata": [{"id": str, "attrs": [PAIR]}],
}
STYLE = {"backgroundColor": str, "borderColor": str}
COLLECTION = {"label": str, "graphs": [{"id": str, "nodes": [NODE], "groupNodeAttributes": dict}], "graphSorting": str}
"""Field names and types that Model Explorer documents; `style` is the only optional one that is used."""


def _conforms(value: Any, schema: Any) -> None:
    if isinstance(schema, list):
        assert isinstance(value, list)
        for item in value:
            _conforms(item, schema[0])
    elif isinstance(schema, dict):
        optional = {"style": STYLE} if schema is NODE else {}
        assert set(schema) <= set(value) <= {*schema, *optional}
        for key, item in value.items():
            _conforms(item, {**schema, **optional}[key])
    else:
        assert isinstance(value, schema)


@pytest.fixture(scope="module")
def exported(dump: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    output = tmp_path_factory.mktemp("explorer") / "run.json"
    graphs, verdicts = export_model_explorer(str(dump), str(output))
    assert (graphs.name, verdicts.name) == ("run.json", "run.verdicts.json")
    ledger = Ledger.from_jsonl((dump / "ledger.jsonl").read_text("utf-8").splitlines())
    return ledger, json.loads(graphs.read_text("utf-8")), json.loads(verdicts.read_text("utf-8"))


def test_the_graphs_conform_and_hold_together(exported: Exported) -> None:
    _, collection, _ = exported
    _conforms(collection, COLLECTION)
    ids = [graph["id"] for graph in collection["graphs"]]
    assert ids[0] == "00-input"
    assert ids[-1].endswith("-partition")
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    for graph in collection["graphs"]:
        names = [node["id"] for node in graph["nodes"]]
        assert len(set(names)) == len(names)
        assert {edge["sourceNodeId"] for node in graph["nodes"] for edge in node["incomingEdges"]} <= set(names)


def test_a_node_says_where_it_is_and_why(exported: Exported) -> None:
    _, collection, _ = exported
    nodes = {node["id"]: node for node in collection["graphs"][-1]["nodes"]}
    gelu = nodes["gelu"]
    assert (gelu["label"], gelu["namespace"]) == ("aten.gelu", "head/1")
    assert nodes["p_head_0_weight"]["namespace"] == nodes["linear"]["namespace"] == "head/0"
    assert [edge["sourceNodeId"] for edge in gelu["incomingEdges"]] == ["linear"]
    attributes = {pair["key"]: pair["value"] for pair in nodes["tanh"]["attrs"]}
    assert attributes["verdict"] == "excluded"
    assert attributes["reason 1"].startswith("TP401: ")
    assert "programs.py:" in attributes["source"]
    assert {"key": "tensor_shape", "value": "f32[2,8]"} in gelu["outputsMetadata"][0]["attrs"]
    assert collection["graphs"][-1]["groupNodeAttributes"]["head"] == {"class": "Sequential"}


def test_the_verdicts_are_node_data_of_the_graphs(exported: Exported) -> None:
    ledger, collection, data = exported
    graphs = {graph["id"]: graph for graph in collection["graphs"]}
    assert set(data) == {name for name in graphs if name.endswith(("annotate", "partition"))}
    results = data[collection["graphs"][-1]["id"]]["results"]
    assert {name: row["value"] for name, row in results.items()} == {row.node: row.verdict for row in ledger}
    assert all(row["bgColor"].startswith("#") for row in results.values())


def test_where_the_export_goes_and_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        export_model_explorer(str(tmp_path / "none"))
    (tmp_path / "run.json").write_text('{"schema": 1, "pipeline": ""}')
    with pytest.raises(UserError, match="write the dump again"):
        export_model_explorer(str(tmp_path))
    with pytest.raises(UserError, match="holds no page"):
        page_of(str(tmp_path))
    (tmp_path / "index.html").write_text("<p>no data")
    with pytest.raises(UserError, match="cannot be read as the page of a dump"):
        export_model_explorer(str(tmp_path))
    assert page_of(str(tmp_path)) == tmp_path / "index.html"


def test_the_command_names_the_files_and_refuses_a_file_without_a_viewer(dump: Path, tmp_path: Path) -> None:
    graphs = tmp_path / "graphs.json"
    result = CliRunner().invoke(main, ["view", str(dump), "--export", "model-explorer", "-o", str(graphs)])
    assert result.exit_code == 0
    assert result.stdout.split() == [str(graphs), str(tmp_path / "graphs.verdicts.json")]
    refused = CliRunner().invoke(main, ["view", str(dump), "-o", str(graphs)])
    assert refused.exit_code == 1
    assert "add --export model-explorer" in refused.stderr
    nowhere = CliRunner().invoke(main, ["view", str(dump), "--export", "model-explorer", "-o", f"{tmp_path}/no/f.json"])
    assert nowhere.exit_code == 1
    assert "cannot be written" in nowhere.stderr
