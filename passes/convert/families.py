"""All converters that come with the package, by family."""

from __future__ import annotations

from ...compiler.tensorrt.registry import Registry
from . import (
    activation,
    attention,
    batch_norm,
    bitwise,
    bounds,
    caches,
    comparison,
    control_flow,
    convolution,
    creation,
    data_dependent,
    distance,
    experts,
    grid,
    indexing,
    linear,
    normalization,
    pointwise,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    scan,
    scatter,
    searching,
    shape,
    signs,
    sorting,
    strided,
    symbolic,
)

_MODULES = (
    *(pointwise, comparison, activation, reduction, linear, convolution, pooling, normalization),
    *(attention, shape, indexing, creation, resize, symbolic),
    *(scatter, bitwise, scan, distance, grid, batch_norm, strided, signs, bounds, recurrent, sorting, searching),
    *(data_dependent, control_flow, experts, quantization, caches),
)


def package_registry() -> Registry:
    """The registry of all of them."""
    return Registry.of(converter for module in _MODULES for converter in module.FAMILY)
