import json
import operator

import pytest
import torch
from torch.fx import Graph, GraphModule
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.runtime.saving import graph_text
from trt_passes.compiler.runtime.saving.allowed import Allowed

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


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"nodes": []}', '{"nodes": [["x"]], "outputs": [{"node": "y"}]}'])
def test_damaged_text_is_a_user_error(damaged: str) -> None:
    with pytest.raises(UserError, match="compile again"):
        graph_text.loads(damaged)


def text(*nodes: list[object], outputs: object = ({"node": "y"},)) -> str:
    return json.dumps({"nodes": [["x"], *nodes], "outputs": outputs})


def relu(label: str = "y", **kwargs: object) -> list[object]:
    return [label, "aten::relu.default", [{"node": "x"}], kwargs]


RUNS = "zz=__import__('os').system('true')"


@pytest.mark.parametrize(
    "damaged",
    [
        json.dumps({"nodes": [[f"x, {RUNS}"], ["y", "aten::relu.default", [{"node": "x"}], {}]], "outputs": []}),
        text(relu(f"y = {RUNS}; y"), outputs=[]),
        text(["y", {"nodes": [[RUNS]], "outputs": []}]),
        text([RUNS, {"nodes": [], "outputs": []}], outputs=[]),
        text(relu(**{RUNS: 1})),
        text(relu(**{"lambda": 1})),
        text(relu("import"), outputs=[]),
        text(relu(), relu()),
        text(relu(), ["x"]),
        text(relu(), ["z"]),
        text(relu(1)),  # type: ignore[arg-type]
        text([]),
        text(["y", "aten::relu.default", {}, {}]),
        text(["y", "aten::relu.default", [], []]),
        text(["y", ["aten::relu.default"], [], {}]),
        text(["y", "aten::relu.default", [{"node": ["x"]}], {}]),
        text(["y", "aten::relu.default", [{"node": "x", "device": "cpu"}], {}]),
        text(["y", "aten::relu.default", [{"dtype": "nn"}], {}]),
        text(["y", "aten::relu.default", [{"complex": ["1", "a"]}], {}]),
        text(["y", "trt_passes::execute_engine.default", [], {}]),
        '{"nodes": [["x"]], "nodes": [["y"]], "outputs": []}',
        '{"nodes": [["x"]], "outputs": ' + "[" * 500 + "]" * 500 + "}",
        '{"nodes": [["x"]], "outputs": ' + "[" * 100_000,
        json.dumps({"nodes": [["x"]], "outputs": [], "more": 1}),
        b"\xff",
    ],
)
def test_names_are_names_and_what_is_none_is_damage(damaged: str) -> None:
    for read in (graph_text.loads, graph_text.check):
        with pytest.raises(UserError, match="cannot be read by PyTorch"):
            read(damaged)


@pytest.mark.parametrize(
    "target",
    [
        *("aten::from_file.default", "aten::save.default", "aten::_print.default", "aten::set_.source_Tensor"),
        *("prim::Print.default", "profiler::_record_function_enter.default", "inductor::resize_storage_bytes_.default"),
        *("higher_order::flat_apply", "higher_order::print", "aten::add.int"),
    ],
)
def test_operators_that_do_more_than_compute_are_refused(target: str) -> None:
    for read in (graph_text.loads, graph_text.check):
        with pytest.raises(UserError, match=r"is not among the operators that a file may call"):
            read(text(["y", target, ["/tmp/x"], {}]))


@pytest.mark.parametrize("target", ["c10d::send.default", "_c10d_functional::all_reduce.default"])
def test_operators_that_talk_to_other_processes_have_to_be_allowed(target: str) -> None:
    for read in (graph_text.loads, graph_text.check):
        with pytest.raises(UserError, match=r"pass operators=\['_?c10d(_functional)?'\] to tp.load"):
            read(text(["y", target, ["/tmp/x"], {}]))


def test_operators_of_libraries_are_those_that_were_allowed() -> None:
    with torch.library._scoped_library("trt_passes_text", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x + x, "CompositeExplicitAutograd")
        named = text(["y", "trt_passes_text::twice.default", [{"node": "x"}], {}])
        with pytest.raises(UserError, match=r"pass operators=\['trt_passes_text'\] to tp.load to allow"):
            graph_text.loads(named)
        for allowed in (Allowed(frozenset({"trt_passes_text"})), Allowed(everything=True)):
            assert graph_text.loads(named, allowed=allowed)(torch.ones(1))[0].tolist() == [2]
