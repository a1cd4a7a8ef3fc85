"""Views of memory, and writes to slices and diagonals, against eager."""

import torch
from trt_passes.compiler.ir.call import Call
from trt_passes.passes.convert import default_registry

from tests.oracle import check, traced

aten = torch.ops.aten
x = torch.randn(4, 6)


def reasons(function, inputs):
    _, program = traced(function, inputs)
    found = [(default_registry().get(node.target), Call(node)) for node in program.op_nodes]
    return [reason for converter, call in found if converter for reason in converter.violations(call)]


def test_memory():
    def function(x, s):
        return (
            aten.as_strided_copy(x, [3, 2], [5, 2], 1),
            aten.as_strided_copy(x, [2, 3, 2], [1, 0, 4]),
            aten.as_strided_copy(x, [], [], 3),
            aten.as_strided_scatter(x, s, [2, 3], [7, 2], 1),
            aten.as_strided_scatter(x, s[:, :0], [2, 0], [7, 2], 1),
        )

    check(function, [x, torch.randn(2, 3)], build=True)


def test_memory_that_is_not_the_tensors_elements_is_refused():
    padded = torch.randn(4, 8)[:, :6]
    (reason,) = reasons(lambda x: aten.as_strided_copy(x, [2], [1]), [padded])
    assert reason.code == "TP205"
    assert "self has the strides (8, 1)" in reason.message


def test_memory_is_read_in_rows():
    chunks = torch.randn(2, 8, 4)

    def function(x):
        return x.as_strided((2, 3, 4, 4), (32, 8, 4, 1)) + 1, x.as_strided((3, 2, 2, 2), (16, 0, 2, 1), 4) + 1

    gathers = [layer for layer in check(function, [chunks]).layers() if layer == "GATHER"]
    assert len(gathers) == 2
    converted = check(function, [chunks]).built
    constants = [layer for layer in converted.network if layer.type.name == "CONSTANT"]
    assert sorted(layer.get_output(0).shape[0] for layer in constants if layer.name.endswith("places")) == [6, 12]


def test_slices():
    def function(x, s):
        return (
            x.slice_scatter(s[:, :3], 1, 0, None, 2),
            x.slice_scatter(s[:, :2], -1, 1, 5, 3),
            x.slice_scatter(s[:, :2], 1, -2),
            x.slice_scatter(s[:, :0], 1, 3, 3),
            x.select_scatter(s[:, 0], 1, -1),
        )

    check(function, [x, torch.randn(4, 3)], [{0: "n"}, {0: "n"}], {"n": (1, 4, 5)}, build=True)


def test_diagonals():
    def function(y, s):
        return (
            y.diagonal(),
            y.diagonal(1, 2, 0),
            y.diagonal(-2, -1, 1),
            aten.diagonal_scatter(y, s, 1, 1, 2),
            aten.diagonal_scatter(y, s[:, :2], -2, -2, -1),
        )

    check(function, [torch.randn(4, 4, 5), torch.randn(4, 4)], [{0: "n"}, {0: "n"}], {"n": (4, 4, 6)}, build=True)
