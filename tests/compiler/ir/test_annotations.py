"""Annotations: facts on nodes, in the one place that torch.export saves."""

from __future__ import annotations

import io
import json

import torch
from torch.fx import Graph, Node
from trt_passes import Reason, Verdict
from trt_passes.compiler.ir.annotations import (
    KEY,
    annotate_node,
    annotations_of,
    clear,
    reasons_of,
    segment_of,
    set_verdict,
    verdict_of,
)

REASONS = (Reason("TP201", "x is f64."), Reason("TP203", "dimension 0 is s0."))


def node() -> Node:
    return Graph().placeholder("x")


def test_a_bare_node_has_nothing() -> None:
    bare = node()
    assert (annotations_of(bare), verdict_of(bare), reasons_of(bare), segment_of(bare)) == ({}, None, (), None)
    annotations_of(bare)["verdict"] = "trt"
    assert verdict_of(bare) is None, "the dict that annotations_of() gives is not attached"


def test_none_removes_and_the_last_removes_the_key() -> None:
    it = node()
    it.meta["custom"] = {"other": 1}
    annotate_node(it, a=1, b=2)
    annotate_node(it, a=None)
    assert annotations_of(it) == {"b": 2}
    clear(it, "b", "never-there")
    assert it.meta["custom"] == {"other": 1}


def test_a_copy_of_a_node_does_not_share_them() -> None:
    graph = Graph()
    first = graph.placeholder("x")
    annotate_node(first, a=1)
    second = Graph().node_copy(first)
    annotate_node(second, a=2)
    assert annotations_of(first) == {"a": 1}


def test_a_verdict_replaces_the_one_before() -> None:
    it = node()
    set_verdict(it, Verdict.REJECTED, REASONS, because="sort")
    assert (verdict_of(it), reasons_of(it), annotations_of(it)["because"]) == (Verdict.REJECTED, REASONS, "sort")
    set_verdict(it, Verdict.TRT)
    annotate_node(it, segment="segment-00")
    assert (verdict_of(it), reasons_of(it), segment_of(it)) == (Verdict.TRT, (), "segment-00")
    assert "because" not in annotations_of(it)
    set_verdict(it, Verdict.TRT)
    assert segment_of(it) == "segment-00"
    set_verdict(it, Verdict.DEMOTED, REASONS[:1])
    assert segment_of(it) is None, "only trt nodes are in a segment"


def test_they_survive_export_save_and_load() -> None:
    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.relu()

    exported = torch.export.export(Model(), (torch.ones(2),))
    relu = next(item for item in exported.graph.nodes if item.op == "call_function")
    set_verdict(relu, Verdict.REJECTED, REASONS, because="x")
    assert json.loads(json.dumps(relu.meta["custom"][KEY])) == annotations_of(relu)
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    buffer.seek(0)
    loaded = next(item for item in torch.export.load(buffer).graph.nodes if item.op == "call_function")
    assert annotations_of(loaded) == annotations_of(relu)
    assert reasons_of(loaded) == REASONS
