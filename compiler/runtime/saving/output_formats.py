"""What else a compiled module can be written as: TorchScript, or the bare engine with the names of its bindings."""

from __future__ import annotations

import copy
import json
import operator
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ...errors import UserError, did_you_mean
from ...ir.engine_operator import OPERATOR, engine_calls
from ...ir.engine_spec import SerializedEngine
from ...ir.program import copy_graph
from ...ir.text import op_name
from ...settings import Executor
from ..compiled_segment import CompiledSegment
from ..engine_graph import EngineGraph
from ..options import RuntimeOptions
from ..options_in_graph import set_options
from ..whole_file import path_of, remove_abandoned, whole_files, write_whole
from .batches import rows_are_apart
from .torchscript_output import script_module
from .triton import CONFIG, PLAN, triton_config


def save_engine(compiled: torch.nn.Module, path: str | os.PathLike[str], format: str = "engine") -> None:
    """Write the engine of a module that is one engine, for `trtexec`, Triton, or C++: as TensorRT deserializes it.

    `PATH.json` beside it has the bindings in the order in which the model takes and returns them, with data types,
    shapes and ranges, weights that are inputs by their names in the model, and the TensorRT that can run it. If one of
    the two cannot be written, both stay as they were.

    Args:
        compiled: what `compile` returned.
        path: the file; for Triton the folder of the model, in its model repository, which is made if it is missing.
        format: "engine", or "triton" for `config.pbtxt` and `1/model.plan` in a folder. If the first size of all inputs
            and results is one that varies from 1 on, and what the model gives for two rows is what it gives for each
            of them, Triton puts requests together in it.

    Raises:
        UserError: more than one engine is in the module, or part of it runs in PyTorch; weights were changed since it
            was built; or a file cannot be written.
    """
    segment = whole_engine(compiled)
    assert isinstance(compiled, EngineGraph)
    compiled.check_weights()
    target = path_of(path)
    if format not in _FORMATS:
        raise UserError(f"format is {format!r}.{did_you_mean(str(format), _FORMATS)}")
    if format == "triton":
        return _save_for_triton(compiled, segment, target)
    text = json.dumps({**segment.runner.spec.to_json(), **_order(compiled)}, indent=2) + "\n"
    remove_abandoned(os.path.dirname(os.path.realpath(target)))
    try:
        with whole_files(target, f"{target}.json") as (engine_file, text_file):
            engine_file.write(segment.whole_plan())
            text_file.write(text.encode())
        return None
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}.") from error


_FORMATS = ("engine", "triton")


def _save_for_triton(compiled: EngineGraph, segment: CompiledSegment, folder: Path) -> None:
    if "weights" in _order(compiled):
        raise UserError(
            "Triton gives an engine nothing but what a request has, and this one reads weights from outside: compile "
            "without mutable_weights."
        )
    spec = segment.runner.spec
    text = triton_config(os.path.basename(os.path.abspath(folder)), spec, lambda: rows_are_apart(segment))
    if spec.flavor != "tensorrt":
        warnings.warn(
            f"the engine is one of {spec.flavor} {spec.version}, and Triton's backend reads those of TensorRT: build "
            "it with TensorRT, or serve the saved module by Triton's Python backend.",
            UserWarning,
            stacklevel=4,
        )
    try:
        (folder / PLAN).parent.mkdir(parents=True, exist_ok=True)
        with whole_files(folder / PLAN, folder / CONFIG) as (engine_file, text_file):
            engine_file.write(segment.whole_plan())
            text_file.write(text.encode())
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}.") from error


def serialized_engine(compiled: torch.nn.Module) -> SerializedEngine:
    """The engine of a module that is one engine, with its specification.

    Raises:
        UserError: more than one engine is in the module, or part of it runs in PyTorch.
    """
    segment = whole_engine(compiled)
    assert isinstance(compiled, EngineGraph)
    return SerializedEngine.of(segment.whole_plan(), segment.runner.spec, **_order(compiled))


def whole_engine(compiled: torch.nn.Module) -> CompiledSegment:
    """The one engine that does all that a compiled module does.

    Raises:
        UserError: there is more to it, with what.
    """
    if isinstance(compiled, torch.jit.ScriptModule):
        raise UserError(
            "an engine alone is written of what ir='dynamo' makes, not of a ScriptModule: compile with ir='dynamo', or "
            "take the bytes that tp.convert_method_to_trt_engine gives of a TorchScript method."
        )
    if not isinstance(compiled, EngineGraph):
        raise UserError(f"only a compiled module has an engine, not a {type(compiled).__name__}: compile it first.")
    segments = list(compiled.segments.values())
    rest = [node for node in compiled.graph.nodes if node.op == "call_function" and not _is_engine_part(node)]
    results = [leaf for leaf in _leaves(compiled.graph.output_node()) if not _is_result(leaf)]
    problems = []
    if len(segments) != 1:
        problems.append(f"there are {len(segments) or 'no'} engines")
    if rest:
        shown = ", ".join(dict.fromkeys(op_name(node.target) for node in rest[:8]))
        count = "1 operator stays" if len(rest) == 1 else f"{len(rest)} operators stay"
        problems.append(f"{count} in PyTorch ({shown}{', …' if len(rest) > 8 else ''})")
    if results:
        problems.append(f"results such as {results[0]} are no outputs of an engine")
    if problems:
        raise UserError(
            f"this module is not one engine: {'; '.join(problems)}. Save it with tp.save, or see compiled.report for "
            "why it was divided."
        )
    return segments[0]


def _is_engine_part(node: Node) -> bool:
    return node.target is OPERATOR or (node.target is operator.getitem and node.args[0].target is OPERATOR)  # type: ignore[union-attr]


def _is_result(leaf: Any) -> bool:
    return isinstance(leaf, Node) and leaf.op == "call_function"


def _leaves(output: Node) -> list[Any]:
    return list(torch.utils._pytree.tree_leaves(output.args))


def _order(compiled: EngineGraph) -> dict[str, Any]:
    """Names of the bindings: of the model's arguments that the engine takes, of its results, and of its weights."""
    (call,) = engine_calls(compiled)
    spec = next(iter(compiled.segments.values())).runner.spec
    taken = dict(zip(call.args[0], spec.inputs, strict=True))  # type: ignore[arg-type]
    weights = {taken[node].name: str(node.target) for node in compiled.graph.find_nodes(op="get_attr") if node in taken}
    return {
        **({"weights": weights} if weights else {}),
        "arguments": [taken[node].name for node in compiled.graph.find_nodes(op="placeholder") if node in taken],
        "results": [spec.outputs[leaf.args[1]].name for leaf in _leaves(compiled.graph.output_node())],
    }


def saved_options(compiled: EngineGraph) -> RuntimeOptions:
    """How a compiled module runs in another process."""
    executors = {segment.executor for segment in compiled.segments.values()}
    chosen: Executor = executors.pop() if len(executors) == 1 else "auto"
    # The reference executor needs the networks, which stay in this process.
    return replace(compiled.options, executor="auto" if chosen == "reference" else chosen)


# --- TorchScript -----------------------------------------------------------------------------------------------------
def torchscript_of(
    module: GraphModule, program: ExportedProgram, types: Mapping[str, str] = MappingProxyType({})
) -> torch.jit.ScriptModule:
    """A module as TorchScript, see `script_module`; engines run with the module's options, also where it is loaded."""
    twin = copy.copy(module)
    twin.graph = copy_graph(module.graph)
    if isinstance(module, EngineGraph):
        set_options(twin.graph, saved_options(module))
    return script_module(twin, program, types)


def check_can_be_saved(script: Any) -> None:
    """Raise UserError for a ScriptModule with tensors that have no memory: saving them ends PyTorch 2.11 and Python.

    Those are subclasses that wrap others, which a traced model may hold as constants too.
    """
    held = [*script.named_parameters(), *script.named_buffers()]
    for module in script.modules():
        if isinstance(module, torch.jit.ScriptModule):
            for name in module._c._method_names():
                constants = module._c._get_method(name).graph.findAllNodes("prim::Constant")
                tensors = [node for node in constants if node.output().type().kind() == "TensorType"]
                held += [("a constant", node.output().toIValue()) for node in tensors]
    for name, tensor in held:
        if is_traceable_wrapper_subclass(tensor):
            raise UserError(
                f"TorchScript cannot save {name}, which is a {type(tensor).__name__}: script or trace the model with "
                "plain tensors."
            )


def save_torchscript(script: torch.jit.ScriptModule, path: Path, extra: dict[str, str]) -> None:
    """Write TorchScript, with texts to keep in the file, by name.

    PyTorch makes the archive in memory, where it takes up to three times its size: where it writes TorchScript to a
    file itself, a full disk ends the process.

    Raises:
        OSError: the file cannot be written; what was at `path` is then still there.
        UserError: it has tensors that cannot be saved.
    """
    check_can_be_saved(script)
    write_whole(path, [script.save_to_buffer(_extra_files=extra)])
