"""What TensorRT calls the parts of a network, by the names of `torch_tensorrt.dynamo.types`."""

from __future__ import annotations

from typing import Any

from ..tensorrt.loader import TensorRTNotFound, load

_CLASSES = {
    "TRTNetwork": "INetworkDefinition",
    "TRTTensor": "ITensor",
    "TRTLayer": "ILayer",
    "TRTDataType": "DataType",
    "TRTElementWiseOp": "ElementWiseOperation",
}


def network_type(name: str) -> Any:
    """A class of TensorRT's; without TensorRT, a class that nothing is an object of.

    Raises:
        AttributeError: it is none of these.
    """
    if name not in _CLASSES:
        raise AttributeError(name)
    try:
        return getattr(load().module, _CLASSES[name])
    except TensorRTNotFound:
        return type(name, (), {})
