"""How many layers of a network may end up in one kernel, which decides how long the builder takes."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from .layers import iter_layers, topological
from .loader import TensorRT
from .slice_copies import APART, REDUCTIONS
from .small_axes import tensor_of
from .tensor import is_float

MAX_KERNEL = 300
"""Layers of one kernel, as `largest_kernel` counts them, up to which the builder of TensorRT-RTX 1.6 takes seconds.

Of RWKV's recurrence, written out for each position, 272 took 3 s, 416 took 15 s, and 560 were not done after 200 s.
"""


def largest_kernel(library: TensorRT, network: Any) -> int:
    """The most layers of floating-point arithmetic on two values that as many products and reductions come before.

    Layers on one value only make chains, which cost the builder little.
    """
    depths: dict[str, int] = defaultdict(int)
    constants: set[str] = set()
    sizes: Counter[int] = Counter()
    for layer in topological(iter_layers(library, network)):
        names = [tensor.name for tensor in layer.inputs if tensor is not None]
        if layer.kind == "CONSTANT" or (names and constants.issuperset(names)):
            constants.update(tensor.name for tensor in layer.outputs)
            continue
        depth = max((depths[name] for name in names), default=0)
        if layer.kind in APART | REDUCTIONS:
            depth += 1
        elif len({*names} - constants) > 1 and is_float(tensor_of(layer.outputs[0]).dtype):
            sizes[depth] += 1
        for tensor in layer.outputs:
            depths[tensor.name] = depth
    return max(sizes.values(), default=0)
