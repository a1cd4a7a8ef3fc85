"""Attention as PyTorch's decompositions leave it for one device."""

from __future__ import annotations

import operator

import pytest
import torch
import torch.nn.functional as F
from torch.fx import Graph, GraphModule
from trt_passes.compiler.ir.call import Call
from trt_passes.passes.decompose.restate import restate

from tests.oracle import check, traced

aten = torch.ops.aten
GENERATOR = torch.Generator().manual_seed(0)
Q, K, V = (torch.randn(2, 3, size, 16, generator=GENERATOR) for size in (5, 7, 7))
MASK = torch.randn(2, 1, 5, 7, generator=GENERATOR)

GROUPED = aten._scaled_dot_product_attention_math

ON_THE_CPU = {
    "plain": lambda q, k, v, m: aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)[0],
    "causal": lambda q, k, v, m: aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)[0],
    "scaled": lambda q, k, v, m: aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, scale=0.5)[0],
    "masked": lambda q, k, v, m: aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=m)[0],
    "math": lambda q, k, v, m: aten._scaled_dot_product_attention_math(q, k, v, m)[0],
    "math, grouped": lambda q, k, v, m: aten._scaled_dot_product_attention_math(q, k[:, :1], v[:, :1], enable_gqa=True)[
        0
    ],
}


@pytest.mark.parametrize("name", ON_THE_CPU)
def test_attention_for_a_device_is_computed(name):
    function = ON_THE_CPU[name]
    _, program = traced(lambda q, k, v, m: function(q, k, v, m) + m.sum(), (Q, K, V, MASK))
    assert aten.scaled_dot_product_attention.default in {node.target for node in program.op_nodes}
    check(lambda q, k, v, m: function(q, k, v, m) + m.sum(), (Q, K, V, MASK))


def test_a_mask_of_booleans_is_added_by_the_kernel():
    check(lambda q, k, v, m: aten._scaled_dot_product_attention_math(q, k, v, m > 0)[0], (Q, K, V, MASK))


def test_weights_that_are_read_are_computed_too():
    check(lambda q, k, v: aten._scaled_dot_product_attention_math(q, k, v), (Q, K, V))


@pytest.mark.parametrize("options", [{}, {"scale": 0.3}, {"is_causal": True}, {"attn_mask": MASK}])
def test_the_second_result_on_the_cpu_is_the_logarithm_of_a_sum(options):
    kernel = aten._scaled_dot_product_flash_attention_for_cpu
    check(lambda q, k, v: kernel(q, k, v, **options), (Q, K, V))
    check(lambda q, k, v: kernel(q, k, v, **options)[1], (Q, K, V))


def test_the_second_result_of_halves_on_the_cpu_is_of_floats():
    check(aten._scaled_dot_product_flash_attention_for_cpu, [x.half() for x in (Q, K, V)], tolerance=(5e-3, 5e-3))


def graph_of(target, *options, **named):
    """The graph of an attention that has kernels for other devices only, whose first result is returned."""
    graph = Graph()
    nodes = [graph.placeholder(name) for name in "qkvm"]
    for node, value in zip(nodes, (Q, K, V, MASK), strict=True):
        node.meta["val"] = value
    used = [nodes[3] if option == "mask" else option for option in options]
    call = graph.call_function(target, (*nodes[:3], *used), named)
    graph.output(graph.call_function(operator.getitem, (call, 0)))
    return graph


FOR_GPUS = {
    "flash": (aten._scaled_dot_product_flash_attention.default, (), {"scale": 0.3}, {"scale": 0.3}),
    "efficient": (aten._scaled_dot_product_efficient_attention.default, ("mask", False), {}, {"attn_mask": MASK}),
    "efficient, causal": (
        aten._scaled_dot_product_efficient_attention.default,
        (None, True, 0.0, True),
        {},
        {"is_causal": True},
    ),
    "cudnn": (aten._scaled_dot_product_cudnn_attention.default, ("mask", True), {}, {"attn_mask": MASK}),
    "overrideable": (
        aten._scaled_dot_product_fused_attention_overrideable.default,
        ("mask",),
        {"scale": 0.2},
        {"attn_mask": MASK, "scale": 0.2},
    ),
}


@pytest.mark.parametrize("name", FOR_GPUS)
def test_attention_for_gpus_is_the_general_one(name):
    target, options, named, meant = FOR_GPUS[name]
    graph = graph_of(target, *options, **named)
    restate(graph)
    (call,) = (Call(node) for node in graph.nodes if node.op == "call_function")
    assert call.target is aten.scaled_dot_product_attention.default
    result = GraphModule(torch.nn.Module(), graph)(Q, K, V, MASK)
    torch.testing.assert_close(result, F.scaled_dot_product_attention(Q, K, V, **meant))


def test_what_cannot_be_said_otherwise_stays():
    flash, efficient = (
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_efficient_attention.default,
    )
    # The last of 5 queries sees all of 7 keys there, and the first 5 in the general operator.
    causal = graph_of(flash, 0.0, True)
    dropped = graph_of(efficient, None, False, 0.1)
    read = graph_of(efficient, None, True)
    call = next(node for node in read.nodes if node.target is efficient)
    with read.inserting_before(read.output_node()):
        read.output_node().args = (read.call_function(operator.getitem, (call, 1)),)
    for graph, target in ((causal, flash), (dropped, efficient), (read, efficient)):
        restate(graph)
        assert target in {node.target for node in graph.nodes}
