"""An engine in a ScriptModule of its own: what was serialized once runs from TorchScript."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...errors import UserError, did_you_mean
from ...ir.engine_spec import Binding, EngineSpec, SerializedEngine
from ...ir.module_state import blank_module
from ...ir.strict_json import strict_json
from ..options import RuntimeOptions
from ..options_in_graph import spec_with_options


def embed_engine_in_new_module(
    serialized_engine: SerializedEngine | str | os.PathLike[str],
    input_binding_names: Sequence[str] | None = None,
    output_binding_names: Sequence[str] | None = None,
) -> torch.jit.ScriptModule:
    """A ScriptModule that runs an engine, for `torch.jit.save`; `torch.jit.load` reads it with trt_passes imported.

    There is no PyTorch graph to fall back to: where TensorRT cannot run the engine, a call is a UserError.

    Args:
        serialized_engine: what `convert_to_engine` or `convert_method_to_trt_engine` returned, or the name of a file
            that `save_engine` wrote, which has the specification beside it.
        input_binding_names: the bindings that the module takes, in this order; by default as the model took them.
        output_binding_names: those that it returns, a tensor or a tuple of tensors; by default as the model did.

    Raises:
        UserError: bytes without a specification, a file that cannot be read, or a name that the engine does not have.
    """
    engine = _engine(serialized_engine)
    taken = _chosen("input", input_binding_names, engine.arguments, engine.spec.inputs)
    given = _chosen("output", output_binding_names, engine.results, engine.spec.outputs)
    missing = [binding.name for binding in engine.spec.inputs if binding.name not in taken]
    if missing:
        raise UserError(f"input_binding_names leaves out {missing[0]!r}, which the engine takes: name all its inputs.")
    root: Any = blank_module()
    root.training = False
    root.engine = torch.frombuffer(bytearray(engine), dtype=torch.uint8)
    root.none = torch.zeros(0, dtype=torch.uint8)
    root.spec = spec_with_options(engine.spec, RuntimeOptions(executor="tensorrt"))
    places = {binding.name: index for index, binding in enumerate(engine.spec.outputs)}
    names = {name: f"x{index}" for index, name in enumerate(taken)}
    inputs = ", ".join(names[binding.name] for binding in engine.spec.inputs)
    results = ", ".join(f"found[{places[name]}]" for name in given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, which is what was asked for
        script: torch.jit.ScriptModule = torch.jit.script(root)
        script.define(
            f"def forward(self, {', '.join(f'{name}: Tensor' for name in names.values())}):\n"
            "    none: List[Tensor] = []\n"
            f"    found = torch.ops.trt_passes.execute_engine([{inputs}], self.engine, self.spec, self.none, none)\n"
            f"    return {results}\n"
        )
    return script.eval()


def _engine(given: Any) -> SerializedEngine:
    if isinstance(given, SerializedEngine):
        return given
    if isinstance(given, bytes | bytearray | memoryview):
        raise UserError(
            "these bytes of an engine come without its specification: give what convert_to_engine returned, or the "
            "name of a file that save_engine wrote."
        )
    path = Path(given)
    try:
        data, text = path.read_bytes(), Path(f"{path}.json").read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror or error}.") from error
    spec = EngineSpec.loads(text)
    row = strict_json(text)
    names = [row.get("arguments"), row.get("results")]
    if not all(isinstance(item, list) and all(isinstance(name, str) for name in item) for item in names):
        raise UserError(f"{path}.json does not say what the engine takes and returns: save the engine again.")
    return SerializedEngine.of(data, spec, *names)


def _chosen(
    kind: str, asked: Sequence[str] | None, usual: Sequence[str], bindings: Sequence[Binding]
) -> tuple[str, ...]:
    """The bindings of a side, in the order asked for."""
    known = [binding.name for binding in bindings]
    names = (
        tuple(dict.fromkeys(usual)) if asked is None and kind == "input" else tuple(usual if asked is None else asked)
    )
    for name in names:
        if name not in known:
            raise UserError(f"the engine has no {kind} {name!r}.{did_you_mean(name, known)}")
    if kind == "input" and len(set(names)) < len(names):
        raise UserError(f"{kind}_binding_names has a name twice: {json.dumps(list(names))}.")
    return names
