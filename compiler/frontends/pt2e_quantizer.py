"""`TensorRTQuantizer`: which operators PyTorch's export quantisation (PT2E) should quantise for TensorRT, and how."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from ..errors import UserError

aten = torch.ops.aten


class TensorRTQuantizer:
    """For `prepare_pt2e` of torchao: linear layers in int8, as TensorRT-RTX multiplies them.

    Inputs have one scale, weights one per row, and all are around 0. Results are not quantised, since a kernel of
    TensorRT writes floats as fast. Convolutions stay as they are, of which TensorRT-RTX has none in int8, and so do
    layers whose sizes are no multiples of 16.

    It has the methods of torchao's `Quantizer`, but is none of its subclasses: torchao is imported when it is used.
    """

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        """The model as it is."""
        return model

    def annotate(self, model: GraphModule) -> GraphModule:
        """Mark the linear layers of an exported model with what is to be quantised.

        Raises:
            UserError: torchao is not installed.
        """
        try:
            from torchao.quantization.pt2e.quantizer import QuantizationAnnotation
        except ImportError as error:
            raise UserError("TensorRTQuantizer needs torchao: pip install trt-passes[quantisation].") from error
        inputs, weights = _specifications()
        for node in model.graph.nodes:
            if node.op == "call_function" and node.target is aten.linear.default and _fits(node):
                x, weight = node.args[:2]
                node.meta["quantization_annotation"] = QuantizationAnnotation(
                    input_qspec_map={x: inputs, weight: weights}, _annotated=True
                )
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing to check: what is marked is always right."""

    def prepare_obs_or_fq_callback(self, model: GraphModule, edge_or_node_to_obs_or_fq: Any) -> None:
        """Nothing to add to the observers that torchao makes."""


def _specifications() -> tuple[Any, Any]:
    """Of inputs, and of weights."""
    from torchao.quantization.pt2e.observer import HistogramObserver, PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationSpec

    inputs = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_symmetric,
        observer_or_fake_quant_ctr=HistogramObserver,
    )
    weights = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=PerChannelMinMaxObserver,
    )
    return inputs, weights


def _fits(node: Node) -> bool:
    weight: Any = node.args[1]
    value = weight.meta.get("val") if isinstance(weight, Node) and weight.op == "get_attr" else None
    return isinstance(value, torch.Tensor) and all(isinstance(size, int) and size % 16 == 0 for size in value.shape)
