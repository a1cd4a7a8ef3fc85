"""A model of one engine as a folder of Triton's model repository: the engine, and what its server must know of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import torch

from ...errors import UserError
from ...ir.engine_spec import Binding, EngineSpec

PLAN = "1/model.plan"
"""Where Triton looks for the engine of the first version."""

CONFIG = "config.pbtxt"

_TYPES: Mapping[torch.dtype, str] = MappingProxyType(
    {
        torch.float32: "TYPE_FP32",
        torch.float16: "TYPE_FP16",
        torch.bfloat16: "TYPE_BF16",
        torch.int64: "TYPE_INT64",
        torch.int32: "TYPE_INT32",
        torch.int8: "TYPE_INT8",
        torch.uint8: "TYPE_UINT8",
        torch.bool: "TYPE_BOOL",
    }
)


def triton_config(name: str, spec: EngineSpec) -> str:
    """The text of `config.pbtxt`.

    Where the first size of all inputs and results is the same and varies from 1 on, it is the batch: Triton puts
    requests together in it, up to its largest size.

    Args:
        name: of the model, as clients ask for it; Triton wants that of its folder.
        spec: of the engine.

    Raises:
        UserError: a tensor is of a type that Triton has not, or shares memory with another one.
    """
    for binding in (*spec.inputs, *spec.outputs):
        if binding.dtype not in _TYPES or binding.alias is not None:
            why = "shares the memory of an input" if binding.alias is not None else f"is {binding.dtype}"
            raise UserError(f"Triton cannot serve this engine, whose tensor {binding.name!r} {why}.")
    batch = _batch(spec)
    lines = [f'name: "{name}"', 'platform: "tensorrt_plan"', f"max_batch_size: {batch}"]
    lines += _tensors("input", spec.inputs, batch)
    lines += _tensors("output", spec.outputs, batch)
    if batch > 1:
        usual = spec.inputs[0].opt_shape[0]
        preferred = f" preferred_batch_size: [ {usual} ]" if usual > 1 else ""
        lines.append(f"dynamic_batching {{{preferred} }}" if preferred else "dynamic_batching { }")
    profiles = max((len(binding.profiles) for binding in spec.inputs), default=0)
    if profiles > 1:
        numbers = ", ".join(f'"{number}"' for number in range(profiles))
        lines.append(f"instance_group [ {{ kind: KIND_GPU profile: [ {numbers} ] }} ]")
    return "\n".join(lines) + "\n"


def _batch(spec: EngineSpec) -> int:
    """The largest batch, or 0 if the first sizes are none."""
    firsts = {binding.shape[0] if binding.shape else None for binding in (*spec.inputs, *spec.outputs)}
    size = next(iter(firsts)) if len(firsts) == 1 else None
    lows = {binding.min_shape[0] for binding in spec.inputs if binding.min_shape}
    if not isinstance(size, str) or not size.isidentifier() or lows != {1}:
        return 0
    return min(binding.max_shape[0] for binding in spec.inputs)


def _tensors(kind: str, bindings: Iterable[Binding], batch: int) -> list[str]:
    rows = []
    for binding in bindings:
        sizes = [size if isinstance(size, int) else -1 for size in binding.shape][1 if batch else 0 :]
        # Triton has no tensors without dimensions.
        shape = "dims: [ 1 ] reshape: { shape: [ ] }" if not sizes else f"dims: [ {', '.join(map(str, sizes))} ]"
        rows.append(f'  {{ name: "{binding.name}" data_type: {_TYPES[binding.dtype]} {shape} }}')
    return [f"{kind} [", ",\n".join(rows), "]"]
