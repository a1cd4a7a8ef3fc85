import json
import operator

import pytest
import torch
from torch.fx import Graph, GraphModule
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.runtime.saving import graph_text

aten = torch.ops.aten


def graph() -> Graph:
    graph = Graph()
    x, w = graph.placeholder("x"), graph.placeholder("w")
    size = graph.call_function(aten.sym_size.int, (x, 0))
    double = graph.call_function(operator.mul, (size, 2))
    wide = graph.call_function(aten.expand.default, (w, [double, -1]))
    cast = graph.call_function(
        aten._to_copy.default, (x,), {"dtype": torch.float16, "memory_format": torch.preserve_format}
    )
    split = graph.call_function(aten.split.Tensor, (cast, 1, 1))
    first = graph.call_function(operator.getitem, (split, 0))
    fill = graph.call_function(
        aten.full.default, ([2], float("inf")), {"device": torch.device("cpu"), "layout": torch.strided}
    )
    graph.output((wide, first, fill))
    return graph


def test_a_graph_read_back_computes_the_same() -> None:
    before = GraphModule(torch.nn.Module(), graph())
    after = graph_text.loads(graph_text.dumps(graph()))
    arguments = torch.randn(3, 4), torch.randn(1, 5)
    for expected, found in zip(before(*arguments), after(*arguments), strict=True):
        assert expected.dtype == found.dtype
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_text_and_names_are_stable() -> None:
    text = graph_text.dumps(graph())
    assert graph_text.dumps(graph_text.loads(text).graph) == text


def test_what_is_no_operator_call_is_refused_when_writing() -> None:
    bad = Graph()
    bad.output((bad.call_function(torch.relu, (bad.placeholder("x"),)),))
    with pytest.raises(ValueError, match="node relu calls"):
        graph_text.dumps(bad)


@pytest.mark.parametrize(
    "target",
    [
        "aten::no_such_op.default",
        "builtins.eval",
        "aten::add.__class__",
        "os.system",
        "aten::__class__.mro",
        "operator.call",
    ],
)
def test_only_operators_can_be_named(target: str) -> None:
    text = json.dumps({"nodes": [["x"], ["y", target, [{"node": "x"}], {}]], "outputs": [{"node": "y"}]})
    with pytest.raises(UserError, match="cannot be read by PyTorch"):
        graph_text.loads(text)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"nodes": []}', '{"nodes": [["x"]], "outputs": [{"node": "y"}]}'])
def test_damaged_text_is_a_user_error(text: str) -> None:
    with pytest.raises(UserError, match="compile again"):
        graph_text.loads(text)
