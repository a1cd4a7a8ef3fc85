"""What TensorRT calls the parts of a network, by the names of `torch_tensorrt.dynamo.types`."""

from __future__ import annotations

from typing import Any

from ..tensorrt.loader import TensorRTNotFound, load


def _of(name: str) -> Any:
    """A class of TensorRT's; without TensorRT, a class that nothing is an object of."""
    try:
        return getattr(load().module, name)
    except TensorRTNotFound:
        return type(name, (), {})


TRTNetwork = _of("INetworkDefinition")
TRTTensor = _of("ITensor")
TRTLayer = _of("ILayer")
TRTDataType = _of("DataType")
TRTElementWiseOp = _of("ElementWiseOperation")
