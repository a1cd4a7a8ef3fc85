"""What Torch-TensorRT's TorchScript front end has beside `compile`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..frontends.torchscript.op_support import check_method_op_support
from ..runtime.saving import embedded_engine
from .arguments import declared
from .device import Device

__all__ = ["check_method_op_support", "compile_spec", "embed_engine_in_new_module"]


def compile_spec(compile_spec: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """`ts.TensorRTCompileSpec`: options of the TorchScript front end, as a dict for `compile`."""
    spec = {**(compile_spec or {}), **options}
    inputs = spec.get("inputs")
    return {**spec, "inputs": [declared(item) for item in inputs] if isinstance(inputs, Sequence) else inputs}


def embed_engine_in_new_module(
    serialized_engine: Any,
    input_binding_names: Sequence[str] | None = None,
    output_binding_names: Sequence[str] | None = None,
    device: Any = None,
) -> torch.jit.ScriptModule:
    """A ScriptModule that runs an engine, see `trt_passes.embed_engine_in_new_module`.

    Args:
        serialized_engine: what `convert_method_to_trt_engine` returned, or a file that `trt_passes.save_engine` wrote.
        input_binding_names, output_binding_names: the bindings that it takes and returns.
        device: a GPU: the engine runs on that of its inputs.
    """
    if device is not None:
        Device._from(device)
    return embedded_engine.embed_engine_in_new_module(
        serialized_engine,
        _by_place(input_binding_names, "input", getattr(serialized_engine, "arguments", ())),
        _by_place(output_binding_names, "output", getattr(serialized_engine, "results", ())),
    )


def _by_place(names: Sequence[str] | None, kind: str, own: Sequence[str]) -> list[str] | None:
    """Names of bindings, where "input_0" and the like stand for places, as engines of Torch-TensorRT call theirs."""
    if names is None:
        return None
    places = {f"{kind}{sign}{number}": name for number, name in enumerate(own) for sign in ("_", "")}
    return [name if name in own else places.get(name, name) for name in names]
