"""The building blocks of `torch_tensorrt.dynamo.conversion.impl`, by the operators that they are."""

from trt_passes.compiler.compat.building_blocks import blocks

globals().update(blocks(__name__))
__all__ = list(blocks(__name__))
