"""Networks: bindings, names, weights, and errors that name the node in TensorRT's own words."""

import gc

import pytest
import torch
from trt_passes.compiler.ir.call import Call
from trt_passes.compiler.ir.engine_spec import Binding
from trt_passes.compiler.ir.input import Input
from trt_passes.compiler.ir.program import Program, Segment
from trt_passes.compiler.ir.symbol_ranges import symbol_ranges
from trt_passes.compiler.pass_base import Context
from trt_passes.compiler.tensorrt.loader import load
from trt_passes.passes.convert import Converter, SegmentFailed, default_registry
from trt_passes.passes.convert.segment import convert_segment
from trt_passes.passes.decompose import Decompose

from tests.oracle import build_engine, check, converted

aten = torch.ops.aten


def network_of(function, inputs, registry=None):
    class Model(torch.nn.Module):
        def forward(self, *inputs):
            return function(*inputs)

    exported = torch.export.export(Model(), tuple(inputs))
    program = Program(exported, inputs=tuple(Input.from_tensor(tensor) for tensor in inputs))
    program = Decompose().run(program, Context()).synced()
    # Nodes without users are checks: nothing of them is computed.
    nodes = tuple(node.name for node in program.op_nodes if node.users)
    outputs = tuple(dict.fromkeys(node.name for node in program.output_node.args[0]))
    segment = Segment("segment-00", nodes, tuple(node.name for node in program.user_inputs), outputs)
    return convert_segment(program, segment, registry or default_registry(), load(), symbol_ranges(program))


def test_bindings_carry_names_symbols_and_ranges():
    built = converted(lambda x: torch.cat([x, x]).relu(), [torch.randn(2, 3)], [{0: "n"}], {"n": (1, 2, 8)}).built
    (given,), (made,) = built.inputs, built.outputs
    symbol = given.shape[0]
    assert given == Binding(given.name, torch.float32, (symbol, 3), (1, 3), (2, 3), (8, 3))
    assert made == Binding("relu", torch.float32, (f"2*{symbol}", 3), (2, 3), (4, 3), (16, 3))


def test_layers_are_named_and_traced_to_their_nodes():
    built = network_of(lambda x, y: torch.softmax(x / y, -1), [torch.randn(3), torch.randint(1, 5, (3,))])
    names = [built.network.get_layer(index).name for index in range(built.network.num_layers)]
    assert names == ["div.cast", "div", "softmax.rank", "softmax", "softmax.rank.1"]
    assert built.layer_nodes == {name: name.split(".")[0] for name in names}
    assert "[fx:softmax]" in built.text()


def test_an_input_a_constant_and_a_repeated_result_can_be_outputs():
    def function(x):
        return x, torch.ones(3), x.relu(), x.relu().clone()

    check(function, [torch.randn(2, 3)], build=True)


def test_an_input_and_an_output_of_one_node_have_different_names():
    built = network_of(lambda x: (x, x.relu()), [torch.randn(3)])
    names = [binding.name for binding in (*built.inputs, *built.outputs)]
    assert len(set(names)) == 3


def test_weights_are_not_copied_and_stay_alive():
    built = converted(torch.nn.Linear(3, 3), [torch.randn(2, 3)]).built
    gc.collect()
    assert len(build_engine(built)) > 0


def broken(ctx, call):
    x = ctx.tensor(call.arg("self"))
    seven = ctx.constant(torch.zeros(7))
    kind = ctx.trt.ElementWiseOperation.SUM
    return ctx.emit(ctx.network.add_elementwise(x.trt, seven.trt, kind), x.shape)


def wrong_dtype(ctx, call):
    return ctx.tensor(call.arg("self"))


def failing(ctx, call):
    raise KeyError("axis")


def failures(converter):
    registry = default_registry().extended([Converter((aten.relu.default,), converter)])
    with pytest.raises(SegmentFailed) as raised:
        network_of(lambda x: x.relu().exp().relu(), [torch.randn(3)], registry)
    return raised.value.failures


def test_all_failing_nodes_are_found_in_one_go_in_tensorrts_words():
    found = failures(broken)
    assert list(found) == ["relu", "relu_1"]
    assert found["relu"].code == "TP501"
    assert "broadcast dimensions must be conformable" in found["relu"].message
    assert "cudaError" not in found["relu"].message


def test_python_errors_of_a_converter_become_reasons():
    assert failures(failing)["relu"].message == "KeyError: 'axis'"


def test_a_result_of_another_type_than_pytorchs_is_an_error():
    registry = default_registry().extended([Converter((aten._to_copy.default,), wrong_dtype)])
    with pytest.raises(SegmentFailed, match=r"the converter yields f32\[3\] where PyTorch yields f16\[3\]"):
        network_of(lambda x: x.half(), [torch.randn(3)], registry)


def test_an_operator_without_converter_is_a_reason():
    with pytest.raises(SegmentFailed) as raised:
        network_of(lambda x: torch.special.bessel_j0(x), [torch.randn(3)])
    assert raised.value.failures["special_bessel_j0"].code == "TP101"


def test_a_size_that_no_input_has_is_tp210():
    exported = torch.export.export(
        torch.nn.ReLU(), (torch.randn(4, 3),), dynamic_shapes={"input": {0: torch.export.Dim("n")}}
    )
    graph = exported.graph_module.graph
    relu = next(node for node in graph.nodes if node.op == "call_function")
    size = relu.meta["val"].shape[0]
    with graph.inserting_after(relu):
        ramp = graph.call_function(aten.arange.start_step, (0, size.node.expr, 1))
    with relu.meta["val"].fake_mode:
        ramp.meta["val"] = torch.empty(size, dtype=torch.int64)
    program = Program(exported)
    segment = Segment("segment-00", (ramp.name,), (), (ramp.name,))
    with pytest.raises(SegmentFailed) as raised:
        convert_segment(program, segment, default_registry(), load(), symbol_ranges(program))
    assert raised.value.failures[ramp.name].code == "TP210"
    assert Call(ramp).op in raised.value.failures[ramp.name].message
