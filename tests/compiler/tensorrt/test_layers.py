"""Reading a real network back: classes, order, attributes, text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from trt_passes.compiler.tensorrt import layers
from trt_passes.compiler.tensorrt.layers import describe_layer, iter_layers, network_text, topological
from trt_passes.compiler.tensorrt.loader import TensorRT

F32, I32, I64 = torch.float32, torch.int32, torch.int64


def _read(net: Any) -> list[layers.Layer]:
    return list(iter_layers(net.trt, net.network))


def test_every_layer_type_has_a_class(trt: TensorRT) -> None:
    without = {"PLUGIN", "ATTENTION"}
    for kind in trt.module.LayerType.__members__:
        if kind not in without:
            assert issubclass(getattr(trt.module, layers._CLASS_NAMES[kind]), trt.module.ILayer), kind


def test_type_is_read_although_a_class_hides_it(net: Any) -> None:
    x = net.input("x", F32, (1, 3, 8, 8))
    relu = net.network.add_activation(x, net.module.ActivationType.RELU)
    net.network.add_pooling_nd(relu.get_output(0), net.module.PoolingType.MAX, (2, 2))
    # Read twice: the second time over wrappers whose class was already changed.
    first, second = _read(net), _read(net)
    for read in (first, second):
        assert [layer.kind for layer in read] == ["ACTIVATION", "POOLING"]
        assert read[0].handle.type == net.module.ActivationType.RELU
        assert read[1].handle.type == net.module.PoolingType.MAX


def test_attention_is_one_layer_with_its_mask(net: Any) -> None:
    q, k, v = (net.input(name, F32, (1, 2, 4, 8)) for name in "qkv")
    attention = net.network.add_attention(q, k, v, net.module.AttentionNormalizationOp.SOFTMAX, False)
    attention.mask = net.input("mask", F32, (1, 1, 4, 4))
    attention.name, attention.metadata = "attend", "[fx:sdpa]"
    net.output(attention.get_output(0), "y")
    (layer,) = _read(net)
    assert (layer.kind, layer.name, layer.metadata) == ("ATTENTION", "attend", "[fx:sdpa]")
    assert [tensor.name for tensor in layer.inputs] == ["q", "k", "v", "mask"]
    assert describe_layer(layer) == "%y = ATTENTION(SOFTMAX)(%q, %k, %v, %mask) : f32[1,2,4,8]  # [fx:sdpa]"


def test_topological_order_differs_from_insertion_order(net: Any) -> None:
    x = net.input("x", F32, (1, 2, 5, 5))
    conv = net.network.add_convolution_nd(x, 2, (3, 3), net.module.Weights())
    conv.name = "conv"
    relu = net.network.add_activation(conv.get_output(0), net.module.ActivationType.RELU)
    relu.name = "relu"
    kernel = net.constant(torch.ones(2, 2, 3, 3))
    conv.set_input(1, kernel)
    assert [layer.kind for layer in _read(net)] == ["CONVOLUTION", "ACTIVATION", "CONSTANT"]
    assert [layer.kind for layer in topological(_read(net))] == ["CONSTANT", "CONVOLUTION", "ACTIVATION"]


def test_loop_is_no_circle(net: Any) -> None:
    loop = net.network.add_loop()
    loop.name = "steps"
    loop.add_trip_limit(net.input("n", I32, ()), net.module.TripLimit.COUNT).name = "limit"
    state = loop.add_recurrence(net.constant(torch.zeros(2)))
    state.name = "state"
    twice = net.network.add_elementwise(state.get_output(0), state.get_output(0), net.module.ElementWiseOperation.SUM)
    twice.name = "twice"
    state.set_input(1, twice.get_output(0))
    last = loop.add_loop_output(state.get_output(0), net.module.LoopOutput.LAST_VALUE)
    last.name = "last"
    net.output(last.get_output(0), "y")
    text = network_text(net.trt, net.network)
    assert "%state = RECURRENCE(loop=steps)(%Unnamed_Layer_1_Constant, %twice) : f32[2]\n" in text
    assert "\nTRIP_LIMIT(kind=COUNT, loop=steps)(%n)\n" in text
    assert "\n%last = LOOP_OUTPUT(kind=LAST_VALUE, loop=steps)(%state) : f32[2]\n" in text
    assert text.endswith("OUTPUT y = %last : f32[2]\n")


def test_text_of_a_small_network(net: Any) -> None:
    x = net.input("x", F32, (-1, 3, 8, 8))
    kernel, bias = net.weights(torch.ones(4, 3, 3, 3)), net.weights(torch.ones(4))
    conv = net.network.add_convolution_nd(x, 4, (3, 3), kernel, bias)
    conv.name, conv.metadata, conv.stride_nd, conv.padding_nd = "conv", "[fx:conv]", (2, 2), (1, 1)
    relu = net.network.add_activation(conv.get_output(0), net.module.ActivationType.RELU)
    relu.name, relu.metadata = "relu_1", "[fx:relu]"
    pool = net.network.add_reduce(relu.get_output(0), net.module.ReduceOperation.AVG, 0b1100, False)
    pool.name = "mean"
    flat = net.network.add_shuffle(pool.get_output(0))
    flat.name, flat.reshape_dims, flat.second_transpose = "flat", (0, 2, 2), (0, 2, 1)
    best = net.network.add_topk(flat.get_output(0), net.module.TopKOperation.MAX, 1, 0b100)
    best.name = "best"
    scale = net.network.add_constant((2,), net.weights(torch.tensor([0.5, 2.0])))
    scale.name = "scale"
    net.output(best.get_output(1), "indices")
    assert network_text(net.trt, net.network) == (
        "%x = INPUT : f32[?,3,8,8]\n"
        "%conv = CONVOLUTION(kernel=f32[108], bias=f32[4], kernel_size_nd=[3,3], stride_nd=[2,2], pre_padding=[1,1], "
        "post_padding=[1,1])(%x) : f32[?,4,4,4]  # [fx:conv]\n"
        "%relu_1 = ACTIVATION(RELU)(%conv) : f32[?,4,4,4]  # [fx:relu]\n"
        "%mean = REDUCE(AVG, axes=[2,3])(%relu_1) : f32[?,4]\n"
        "%flat = SHUFFLE(reshape_dims=[0,2,2], second_transpose=[0,2,1])(%mean) : f32[?,2,2]\n"
        "%best, %best.1 = TOPK(MAX, k=1, axes=[2])(%flat) : f32[?,2,1], i32[?,2,1]\n"
        "%scale = CONSTANT(value=[0.5,2])() : f32[2]\n"
        "OUTPUT indices = %best.1 : i32[?,2,1]\n"
    )


def test_values_that_are_inputs_are_not_shown_as_attributes(net: Any) -> None:
    x, start = net.input("x", F32, (4, 5)), net.input("start", I64, (2,))
    layer = net.network.add_slice(x, (0, 0), (2, 2), (1, 1))
    layer.name = "window"
    layer.set_input(1, start)
    assert describe_layer(_read(net)[0], {"window_output": "y"}).endswith(
        "SLICE(shape=[2,2], stride=[1,1])(%x, %start) : f32[2,2]"
    )


def test_invalid_layer_shows_in_the_text(net: Any) -> None:
    none = net.module.MatrixOperation.NONE
    x, y = net.input("x", F32, (2, 3)), net.input("y", F32, (4, 5))
    net.network.add_matrix_multiply(x, none, y, none).name = "product"
    assert "%product = MATRIX_MULTIPLY(%x, %y) : f32[invalid]" in network_text(net.trt, net.network)


def test_equal_labels_are_told_apart(net: Any) -> None:
    x = net.input("relu", F32, (2,))
    net.network.add_activation(x, net.module.ActivationType.RELU).name = "relu"
    text = network_text(net.trt, net.network)
    assert "%relu~2 = ACTIVATION(RELU)(%relu) : f32[2]" in text


def test_text_is_the_same_every_time(net: Any, trt: TensorRT) -> None:
    x = net.input("x", F32, (2, 3))
    for index in range(5):
        layer = net.network.add_unary(x, net.module.UnaryOperation.EXP)
        layer.name = f"exp_{index}"
    assert network_text(trt, net.network) == network_text(trt, net.network)


def test_circular_layers_are_reported(net: Any) -> None:
    x = net.input("x", F32, (2,))
    ops = net.module.ElementWiseOperation
    first = net.network.add_elementwise(x, x, ops.SUM)
    second = net.network.add_elementwise(first.get_output(0), x, ops.SUM)
    first.set_input(1, second.get_output(0))
    with pytest.raises(ValueError, match="waits for its own result"):
        topological(_read(net))
