"""The pass `lower.fold-batch-norm`."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.fx import Node

from ...compiler.ir.aliasing import mutates
from ...compiler.ir.graph import replace_node
from ...compiler.ir.program import Program
from ...compiler.pass_base import Context, Pass
from .values import tensor_of

aten = torch.ops.aten

CONVOLUTIONS = frozenset({aten.convolution.default, aten.conv1d.default, aten.conv2d.default, aten.conv3d.default})


@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Fold an inference batch norm into the convolution or linear layer whose result only it reads.

    With scale = gamma / sqrt(variance + eps) per output channel, the weight becomes weight * scale and the bias
    (bias - mean) * scale + beta. Scale and bias are computed in float64, the weight in float32 at least.

    Before:
        %convolution = aten.convolution(%x, %p_conv_weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1) :
            f32[2,8,5,5]
        %_native_batch_norm_legit_no_training = aten._native_batch_norm_legit_no_training(%convolution, %p_norm_weight,
            %p_norm_bias, %b_norm_running_mean, %b_norm_running_var, 0.1, 1e-05) : (f32[2,8,5,5], f32[0], f32[0])
        %getitem = getitem(%_native_batch_norm_legit_no_training, 0) : f32[2,8,5,5]
    After:
        %convolution = aten.convolution(%x, %c_p_conv_weight, %c_p_conv_weight_bias, [1, 1], [1, 1], [1, 1], False,
            [0, 0], 1) : f32[2,8,5,5]
    """

    name: ClassVar[str] = "lower.fold-batch-norm"

    def run(self, program: Program, ctx: Context) -> Program:
        """Edit the graph in place; the folded weights are constants of the program."""
        if mutates(program.graph):
            return program
        constants = dict(program.constants)
        for node in program.op_nodes:
            norm = _batch_norm(node, constants)
            if norm is not None and _is_foldable(norm.input, norm, constants):
                _fold(program, norm, constants)
        return program


@dataclass(frozen=True)
class _BatchNorm:
    """One batch norm in inference mode: its call, the node of its result, its input, and its parameters."""

    call: Node
    result: Node
    input: Node
    parameters: tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor, torch.Tensor]
    eps: float

    def scale_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(scale, shift) of shape [channels], float64, so that the result is input * scale + shift."""
        gamma, beta, mean, variance = (None if item is None else item.double() for item in self.parameters)
        assert mean is not None
        assert variance is not None
        scale = torch.rsqrt(variance + self.eps)
        scale = scale if gamma is None else scale * gamma
        shift = -mean * scale
        return scale, shift if beta is None else shift + beta


def _batch_norm(node: Node, constants: Mapping[str, torch.Tensor]) -> _BatchNorm | None:
    if node.target is aten._native_batch_norm_legit_no_training.default:
        users = list(node.users)
        if len(users) != 1 or users[0].target is not operator.getitem or users[0].args[1] != 0:
            return None
        result, eps = users[0], node.args[6]
    elif node.target is aten.batch_norm.default and node.args[5] is False:
        result, eps = node, node.args[7]
    else:
        return None
    parameters = [None if item is None else constants.get(getattr(item, "name", "")) for item in node.args[1:5]]
    known = all(value is not None or item is None for value, item in zip(parameters, node.args[1:5], strict=True))
    mean, variance = parameters[2:]
    if not known or mean is None or variance is None or not isinstance(node.args[0], Node):
        return None
    gamma, beta = parameters[:2]
    return _BatchNorm(node, result, node.args[0], (gamma, beta, mean, variance), float(eps))  # type: ignore[arg-type]


def _is_foldable(producer: Node, norm: _BatchNorm, constants: Mapping[str, torch.Tensor]) -> bool:
    result, normalized = tensor_of(producer), tensor_of(norm.result)
    if result is None or normalized is None or result.dtype != normalized.dtype or len(producer.users) != 1:
        return False
    if producer.target not in CONVOLUTIONS and not (producer.target is aten.linear.default and result.dim() == 2):
        return False
    weight, bias = _operands(producer)
    values = [constants.get(item.name) for item in (weight, bias) if item is not None]
    return bool(values) and all(value is not None and value.is_floating_point() for value in values)


def _operands(producer: Node) -> tuple[Node, Node | None]:
    weight: Any = producer.args[1]
    bias: Any = producer.args[2] if len(producer.args) > 2 else producer.kwargs.get("bias")
    return weight, bias


def _fold(program: Program, norm: _BatchNorm, constants: dict[str, torch.Tensor]) -> None:
    producer = norm.input
    weight_node, bias_node = _operands(producer)
    weight = constants[weight_node.name]
    scale, shift = norm.scale_and_shift()
    wide = torch.promote_types(weight.dtype, torch.float32)
    folded = weight.detach().to(wide) * _along_output_channels(scale, weight, producer).to(wide)
    bias = shift if bias_node is None else constants[bias_node.name].double() * scale + shift
    sources = [node for node in (weight_node, bias_node, *norm.call.args[1:5]) if isinstance(node, Node)]
    new = [
        program.add_constant(name, tensor.to(weight.dtype), sources)
        for name, tensor in ((weight_node.name, folded), (f"{weight_node.name}_bias", bias))
    ]
    producer.args = (producer.args[0], *new, *producer.args[3:])
    producer.kwargs = {name: value for name, value in producer.kwargs.items() if name != "bias"}
    replace_node(norm.result, producer)
    if norm.call is not norm.result:
        program.graph.erase_node(norm.call)


def _along_output_channels(scale: torch.Tensor, weight: torch.Tensor, producer: Node) -> torch.Tensor:
    """The per-channel scale in the shape that multiplies a weight.

    A weight is [out, in / groups, …]; that of a transposed convolution is [in, out / groups, …], where the inputs of
    one group come one after the other.
    """
    spatial = [1] * (weight.dim() - 2)
    if producer.target is aten.convolution.default and producer.args[6]:
        groups: Any = producer.args[8]
        per_group = scale.reshape(groups, 1, -1).expand(groups, weight.shape[0] // groups, -1)
        return per_group.reshape(weight.shape[0], weight.shape[1], *spatial)
    return scale.reshape(-1, 1, *spatial)
