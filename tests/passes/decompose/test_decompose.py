"""Decomposition: what it leaves is what converters take."""

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch._higher_order_ops.associative_scan import associative_scan
from trt_passes.compiler.ir.annotations import annotate_node, kept_whole
from trt_passes.compiler.pass_base import Context
from trt_passes.compiler.pipeline import KNOWN_FACTS
from trt_passes.passes import decompose
from trt_passes.passes.decompose import is_decomposed


class Halves(nn.Module):
    """The first half of all elements: x f32[B,4] -> f32[2*B]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1)[: x.numel() // 2] * 2


def test_sizes_are_kept():
    queries = ("sym_size.int", "sym_stride.int", "sym_numel.default", "sym_storage_offset.default")
    for query in queries:
        packet, overload = query.split(".")
        assert not is_decomposed(getattr(getattr(torch.ops.aten, packet), overload))


def test_the_number_of_elements_of_a_dynamic_tensor():
    compiled = tp.compile(
        Halves(),
        [tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(8, 4))],
        min_block_size=1,
        executor="reference",
    )
    assert compiled.report.coverage == 1
    for batch in (1, 5, 8):
        x = torch.randn(batch, 4)
        torch.testing.assert_close(compiled(x), Halves()(x))


class Scaled(nn.Module):
    """addcmul of relu(x) f32[2,3], then sigmoid; `in_place` writes to a tensor of its own."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.relu()
        if self.in_place:
            y.add_(1.0)
        return torch.addcmul(y, y, y).sigmoid()


@pytest.mark.parametrize("in_place", [False, True])
def test_a_failing_decomposition_leaves_one_node_whole(monkeypatch, in_place):
    def fails(*_, **__):
        raise RuntimeError("no such luck\nmore lines")

    table = {**decompose.decompositions(), torch.ops.aten.addcmul.default: fails}
    monkeypatch.setattr(decompose, "decompositions", lambda: table)
    model, x = Scaled(in_place).eval(), torch.randn(2, 3)
    with torch.no_grad():
        exported = torch.export.export(model, (x,))
    compiled = tp.compile(exported, [x], min_block_size=1, executor="reference")
    rows = {row.op: row for row in compiled.report.ledger}
    assert rows["aten.addcmul"].verdict == "unsupported"
    assert [reason.code for reason in rows["aten.addcmul"].reasons] == ["TP103"]
    assert "RuntimeError: no such luck" in rows["aten.addcmul"].reasons[0].message
    assert rows["aten.relu"].verdict == rows["aten.sigmoid"].verdict == "trt"
    torch.testing.assert_close(compiled(x), model(x))


def test_a_decomposition_that_works_again_forgets_the_failure(monkeypatch):
    x = torch.randn(2, 3)
    program = tp.trace(torch.export.export(Scaled(False), (x,)))
    node = next(node for node in program.op_nodes if "addcmul" in node.name)
    annotate_node(node, whole="it failed before")
    program = decompose.Decompose().run(program, Context())
    assert KNOWN_FACTS["core-aten"].holds(program)
    assert not any(map(kept_whole, program.op_nodes))


class Mapped(nn.Module):
    """An affine map of every row, by torch.vmap: x f32[B,4] -> f32[B,4]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.vmap(lambda row: row * 2 + 1)(x)


class Scanned(nn.Module):
    """Products of all rows up to each, by pairs: x f32[B,4] -> f32[B,4]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return associative_scan(torch.mul, x.sigmoid() * 2, dim=0, combine_mode="generic")


@pytest.mark.parametrize("ir", ["dynamo", "torch_compile"])
@pytest.mark.parametrize("model", [Mapped(), Scanned()], ids=lambda model: type(model).__name__)
def test_mapped_functions(model: nn.Module, ir: str) -> None:
    torch._dynamo.reset()
    x = torch.randn(5, 4)
    compiled = tp.compile(model, [x], ir=ir, min_block_size=1, executor="reference", pass_through_build_failures=True)
    torch.testing.assert_close(compiled(x), model(x))
    report = compiled.graphs[0].report if ir == "torch_compile" else compiled.report
    assert report.coverage == 1


class Resized(nn.Module):
    """A tensor that has the size already: x f32[B,16,8], which lies otherwise in memory -> f32[B,16,4]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.functional.glu(x, -1)
        y.resize_as_(y)
        return y.resize_(y.shape) * 2


def test_a_tensor_of_the_same_size_is_not_laid_out_anew():
    x = torch.randn(3, 8, 16).mT
    compiled = tp.compile(Resized(), [x], min_block_size=1, executor="reference")
    torch.testing.assert_close(compiled(x), Resized()(x))
