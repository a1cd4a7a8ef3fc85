"""Operators that say for one device what another says for all (attention kernels), and those that change nothing."""

from __future__ import annotations

import operator
from types import MappingProxyType
from typing import Any

import torch
from torch.fx import Graph, Node

from ...compiler.ir.call import Call
from ...compiler.ir.graph import insert_call
from ...compiler.ir.symbols import dims_of, same

aten = torch.ops.aten

_ATTENTIONS = frozenset(
    {
        aten._scaled_dot_product_attention_math.default,
        aten._scaled_dot_product_cudnn_attention.default,
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
        aten._scaled_dot_product_fused_attention_overrideable.default,
    }
)
"""What `scaled_dot_product_attention` becomes for one device, with further results that training needs."""


_SAME = MappingProxyType({aten._is_all_true.default: aten.all.default, aten._is_any_true.default: aten.any.default})
"""Operators of booleans that another one computes too: `torch._check_tensor_all` calls such."""

_FAILED = "Expected Tensor with single nonzero value, but got zero"
"""What PyTorch says where an assertion without a message fails."""


def restate(graph: Graph) -> None:
    """Replace such calls, in place, where the results that are read are those of the general operator."""
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is aten._assert_async.default:
            # Without a message PyTorch takes it for something that nothing reads.
            node.target, node.args = aten._assert_async.msg, (node.args[0], _FAILED)
        node.target = _SAME.get(node.target, node.target)
        if node.target in _ATTENTIONS and _is_plain_attention(node):
            _replace(graph, node, {0: _attention(graph, node)})
        elif node.target is aten.native_dropout.default and _drops_nothing(node):
            _replace(graph, node, _undropped(graph, node))
        elif node.target is aten.resize_.default and _keeps_its_size(node):
            # PyTorch would trace a tensor of contiguous memory, however this one lies in it.
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)


def _readers(node: Node) -> list[tuple[int, Node]]:
    """The picks of the node's results that something reads, with the number of the result; -1 for all at once."""
    return [
        (int(str(user.args[1])) if user.target is operator.getitem else -1, user)
        for user in node.users
        if user.target is not operator.getitem or user.users
    ]


def _keeps_its_size(node: Node) -> bool:
    call = Call(node)
    sizes, shape = dims_of(call.value("size")), dims_of(call.value("self").shape)
    return call.args.get("memory_format") is None and len(sizes) == len(shape) and all(map(same, sizes, shape))


def _is_plain_attention(node: Node) -> bool:
    call = Call(node)
    if any(number != 0 for number, _ in _readers(node)):
        return False
    if call.arg("dropout_p") != 0 or call.args.get("return_debug_mask") or call.args.get("dropout_mask") is not None:
        return False
    mask = next((call.value(name) for name in ("attn_mask", "attn_bias") if name in call.args), None)
    if isinstance(mask, torch.Tensor) and mask.dtype == torch.bool:
        # The general operator hides what is False; these add the numbers 0 and 1.
        return False
    # The flash kernel for CUDA lines up the last query with the last key, all others the first with the first.
    aligned = node.target is not aten._scaled_dot_product_flash_attention.default or not call.arg("is_causal")
    query, key = (dims_of(call.value(name).shape) for name in ("query", "key"))
    return aligned or same(query[-2], key[-2])


def _attention(graph: Graph, node: Node) -> Node:
    call = Call(node)
    mask = call.args.get("attn_mask", call.args.get("attn_bias"))
    args = tuple(call.arg(name) for name in ("query", "key", "value"))
    options: dict[str, Any] = {"attn_mask": mask, "is_causal": call.arg("is_causal"), "scale": call.arg("scale")}
    options["enable_gqa"] = call.args.get("enable_gqa", False)
    kwargs = {name: value for name, value in options.items() if value not in (None, False)}
    return _call(graph, node, aten.scaled_dot_product_attention.default, args, kwargs)


def _drops_nothing(node: Node) -> bool:
    call = Call(node)
    return call.arg("train") is False or call.arg("p") == 0


def _undropped(graph: Graph, node: Node) -> dict[int, Node]:
    """The input, and which of its elements are kept: all."""
    source = Call(node).arg("input")
    kept = _call(graph, node, aten.ones_like.default, (source,), {"dtype": torch.bool})
    return {0: _call(graph, node, aten.clone.default, (source,), {}), 1: kept}


def _call(graph: Graph, like: Node, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node:
    with graph.inserting_before(like):
        return insert_call(graph, target, args, kwargs, like=like)


def _replace(graph: Graph, node: Node, results: dict[int, Node]) -> None:
    for user in list(node.users):
        number = int(str(user.args[1])) if user.target is operator.getitem else -1
        if number in results:
            user.replace_all_uses_with(results[number])
            graph.erase_node(user)
        elif user.target is operator.getitem and not user.users:
            graph.erase_node(user)
    if not node.users:
        graph.erase_node(node)
    for result in results.values():
        if not result.users:
            graph.erase_node(result)
