"""A model of one engine as a folder of Triton's model repository: the engine, and what its server must know of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
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


def triton_config(name: str, spec: EngineSpec, rows_are_apart: Callable[[], bool]) -> str:
    """The text of `config.pbtxt`, which is a `ModelConfig` of Triton's `model_config.proto`.

    Where the first size of all inputs and results is the same and varies from 1 on, and rows do not depend on each
    other, it is the batch: Triton puts requests together in it, up to its largest size.

    Args:
        name: of the model, as clients ask for it; Triton wants that of its folder.
        spec: of the engine.
        rows_are_apart: tells whether rows do not depend on each other; asked only where that matters.

    Raises:
        UserError: a tensor is of a type or shape that Triton has not, or shares memory with another one.
    """
    batch = _batch(spec)
    if batch and not rows_are_apart():
        batch = 0
    for binding in (*spec.inputs, *spec.outputs):
        why = _unserved(binding, batch)
        if why is not None:
            raise UserError(f"Triton cannot serve this engine, whose tensor {binding.name!r} {why}.")
    lines = [f"name: {_quoted(name)}", 'platform: "tensorrt_plan"', f"max_batch_size: {batch}"]
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


def _unserved(binding: Binding, batch: int) -> str | None:
    """Why Triton refuses a model with such a tensor; None if it takes it."""
    if binding.alias is not None:
        return "shares the memory of an input"
    if binding.dtype not in _TYPES:
        return f"is {binding.dtype}"
    if not binding.shape:
        return "has no dimensions: let the model take and return tensors with at least one"
    if 0 in binding.shape[1 if batch else 0 :]:
        return f"has no elements, as its shape is {list(binding.shape)}"
    return None


def _quoted(text: str) -> str:
    """A text in the text form of protocol buffers."""
    return json.dumps(text, ensure_ascii=False)


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
        # Requests have no tensors without dimensions: one number for every row is a dimension of size 1 in them.
        shape = "dims: [ 1 ] reshape: { shape: [ ] }" if not sizes else f"dims: [ {', '.join(map(str, sizes))} ]"
        rows.append(f"  {{ name: {_quoted(binding.name)} data_type: {_TYPES[binding.dtype]} {shape} }}")
    return [f"{kind} [", ",\n".join(rows), "]"]
