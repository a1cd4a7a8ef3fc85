from dataclasses import replace

import pytest
import torch
from torch.fx import Node
from trt_passes.compiler.ir.annotations import reasons_of, verdict_of
from trt_passes.compiler.ir.ledger import Reason, Verdict
from trt_passes.compiler.ir.program import Program
from trt_passes.compiler.ir.repartition import repartition
from trt_passes.compiler.pass_base import Context
from trt_passes.compiler.pipeline import KNOWN_FACTS

from tests.compiler.runtime.handmade import partitioned, with_empty_engines


class TwoIslands(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(x).exp().sin()
        y = torch.sort(y)[0]
        return y.tanh().cos().neg()


def not_sort(node: Node) -> bool:
    return "sort" not in node.name and not node.name.startswith("getitem")


def program() -> Program:
    exported = torch.export.export(TwoIslands(), (torch.randn(4),))
    return with_empty_engines(partitioned(exported, not_sort))


def test_a_failed_node_leaves_its_segment_with_its_reason() -> None:
    reason = Reason("TP502", "TensorRT: no")
    after = repartition(program(), {"cos": reason}, Context())
    assert verdict_of(after.node("cos")) is Verdict.FAILED
    assert reasons_of(after.node("cos")) == (reason,)
    assert [segment.nodes for segment in after.segments] == [("relu", "exp", "sin"), ("tanh",), ("neg",)]
    assert KNOWN_FACTS["partitioned"].violation(after) is None


def test_unchanged_segments_keep_engine_and_network_and_changed_ones_lose_them() -> None:
    before = program()
    network = object()
    before = before.with_segments(tuple(replace(s, network=network) for s in before.segments))  # type: ignore[type-var]
    after = repartition(before, {"exp": Reason("TP502", "no")}, Context())
    kept = {segment.nodes: segment for segment in after.segments}
    assert kept["relu",].engine is None
    assert kept["relu",].network is None
    untouched = kept["tanh", "cos", "neg"]
    assert untouched.network is network
    assert untouched.engine is not None
    assert untouched.engine.plan is before.segments[1].engine.plan  # type: ignore[union-attr]


def test_an_engine_that_is_kept_takes_the_new_name_of_its_segment() -> None:
    after = repartition(program(), {"exp": Reason("TP502", "no")}, Context())
    for segment in after.segments:
        assert segment.engine is None or segment.engine.spec.name == segment.name
    assert after.segments[-1].name == "segment-02"


def test_the_partition_is_repeated_with_its_own_options() -> None:
    exported = torch.export.export(TwoIslands(), (torch.randn(4),))
    before = partitioned(exported, not_sort, min_block_size=2)
    after = repartition(before, {"exp": Reason("TP502", "no")}, Context())
    assert [segment.nodes for segment in after.segments] == [("tanh", "cos", "neg")]
    assert verdict_of(after.node("relu")) is Verdict.DEMOTED


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="no node failed"):
        repartition(program(), {}, Context())
    with pytest.raises(ValueError, match="no partition pass"):
        repartition(replace(program(), partitioned_by=None), {"exp": Reason("TP502", "no")}, Context())
    with pytest.raises(KeyError):
        repartition(program(), {"nothing": Reason("TP502", "no")}, Context())
