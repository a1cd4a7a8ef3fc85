"""Calls bind arguments by schema name, with defaults."""

import operator

import pytest
import torch
from torch.fx import Graph
from trt_passes.compiler.ir.call import Call, bind

aten = torch.ops.aten


def node_of(target, args=(), kwargs=None):
    graph = Graph()
    x = graph.placeholder("x")
    x.meta["val"] = torch.empty(2, 3, device="meta")
    args = tuple(x if item == "x" else item for item in args)
    return graph.call_function(target, args, kwargs or {})


def test_defaults_and_keywords_are_filled_in():
    call = Call(node_of(aten.sum.dim_IntList, ("x", [1]), {"dtype": torch.float16}))
    assert dict(call.args) == {"self": call.node.args[0], "dim": [1], "keepdim": False, "dtype": torch.float16}


def test_value_replaces_nodes_also_in_lists():
    call = Call(node_of(aten.cat.default, (["x"],)))
    graph_input = next(iter(call.node.graph.nodes))
    call.node.args = ([graph_input, graph_input],)
    assert [tuple(value.shape) for value in Call(call.node).value("tensors")] == [(2, 3), (2, 3)]
    assert list(Call(call.node).tensors) == ["tensors[0]", "tensors[1]"]


def test_an_unknown_argument_names_the_known_ones():
    with pytest.raises(KeyError, match="has no argument 'axis'; it has self, dim"):
        Call(node_of(aten.sum.dim_IntList, ("x", [1]))).arg("axis")


def test_python_functions_bind_by_signature():
    assert bind(operator.getitem, (1, 2), {}) == {"a": 1, "b": 2}


def test_a_builtin_without_signature_binds_by_position():
    assert bind(min, (1, 2), {}) == {"arg0": 1, "arg1": 2}


@pytest.mark.parametrize(
    ("args", "message"), [((), "needs its argument 'self'"), ((1, 2, 3), "takes 1 arguments, but 3")]
)
def test_wrong_numbers_of_arguments(args, message):
    with pytest.raises(TypeError, match=message):
        bind(aten.relu.default, args, {})
