"""The backend "trt_passes" of torch.compile."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import ConstraintViolationError
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..instruments.dump_files import remove_graphs
from ..instruments.protocol import Instrument
from ..ir.input import Input, profile_count
from ..ir.program import Program
from ..manager import compile_program
from ..pass_base import Pass
from ..pipeline import Pipeline
from ..settings import Settings
from .compiled_graph import CompiledGraph
from .dynamo_graph import DynamoGraph
from .exported_program import example_arguments
from .given_arguments import check_containers, check_signature, hint_at_shapes, is_declared
from .kept_state import kept_state
from .module_view import is_torchscript
from .quiet import quiet_rejection
from .sharded_graph import is_sharded, local_graph
from .torchao_weights import check_weights
from .unproved_limits import condition_not_held, hold_for_all, limits_not_proved


class TorchCompileBackend:
    """A backend for `torch.compile(model, backend=…)` that keeps what it compiled, in `graphs`.

    Every graph that dynamo finds, one per graph break and recompilation, becomes a `CompiledGraph`: an engine or
    several, built when it is first called. What needs gradients or is in training mode, and what cannot be exported or
    built, runs in PyTorch, with one warning that says why. With `dump_dir`, each graph writes a folder of its own into
    it: graph-00, graph-01, …, and graph-00-1 for the first recompilation of graph-00. Those that an earlier run left
    from the number of a new graph on are removed.

    How often what happened is also in `torch._dynamo.utils.counters["trt_passes"]`.

    Args:
        pipeline: passes to run instead of the default ones, or their text.
        instruments: called around every pass, besides `Verify` and, with `dump_dir`, `Dump`.
        gradients: whether graphs whose results require gradients are left to PyTorch. Else results have none.
        made: called with every module that was compiled.
        options: fields of `Settings`.

    Raises:
        UserError: a mistake in the options.
    """

    def __init__(
        self,
        *,
        pipeline: str | Pipeline | Sequence[Pass] | None = None,
        instruments: Sequence[Instrument] = (),
        gradients: bool = True,
        made: Callable[[GraphModule], object] | None = None,
        **options: Any,
    ) -> None:
        self.settings, self._gradients, self._made = _settings(options), gradients, made
        self.graphs: list[CompiledGraph] = []
        self._pipeline, self._instruments = pipeline, instruments

    def __call__(self, graph: GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
        """What dynamo calls with each graph."""

        def make(found: DynamoGraph | None = None) -> CompiledGraph:
            compiled = _compiled_graph(graph, self.settings, self._compile, self._gradients, found)
            self.graphs.append(compiled)
            return compiled

        return local_graph(graph, example_inputs, make) if is_sharded(graph) else make()

    def _compile(self, program: Program, settings: Settings) -> GraphModule:
        module = compile_program(program, settings, pipeline=self._pipeline, instruments=self._instruments)
        if self._made is not None:
            self._made(module)
        return module

    @property
    def recompiles(self) -> int:
        """How often dynamo compiled a frame again."""
        return sum(graph.recompile > 0 for graph in self.graphs)

    def reset(self) -> None:
        """Forget the graphs, as `torch._dynamo.reset` does."""
        self.graphs.clear()


def backend(
    graph: GraphModule, example_inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None, **others: Any
) -> Callable[..., Any]:
    """`torch.compile(model, backend="trt_passes", options={…})`, whose options are fields of `Settings`."""
    try:
        if others:
            name, value = next(iter(others.items()))
            raise UserError(f"torch.compile is given {name}={value!r}, which trt_passes has not: use options.")
        settings = _settings(options or {})
    except UserError as error:
        # Raised here, it would reach the user inside dynamo's BackendCompilerFailed.
        return functools.partial(_raise, error)
    if is_sharded(graph):
        return local_graph(
            graph, example_inputs, lambda found: _compiled_graph(graph, settings, compile_program, found=found)
        )
    return _compiled_graph(graph, settings, compile_program)


def _settings(options: Mapping[str, Any]) -> Settings:
    settings = Settings.from_options(options)
    if settings.tune:
        raise UserError(
            "option 'tune' is for models that are exported whole: call tp.tune on the model, and give its file as "
            "tuning."
        )
    if settings.check is not None and (settings.check.has_inputs or settings.check.metric is not None):
        raise UserError(
            "option 'check' with inputs or a metric is for models that are exported whole, and torch.compile makes "
            "graphs of its own: give check=True, with which each is checked on the call that it is compiled for."
        )
    return settings


def compiled_when_called(
    model: Any, backend: TorchCompileBackend, inputs: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> Any:
    """`torch.compile` of a model, called with its inputs if there are any, so that what they declare is compiled.

    The model's state, and the inputs, are as before the call then.

    A size of 1 is not: dynamo takes it for a constant, and what it may be told to assume instead, that sizes are never
    1 (`backed_size_oblivious`), makes wrong results of operators such as `squeeze`.

    `graphs` on the result are those of the backend.

    Raises:
        UserError: this is no model that torch.compile takes, or it does not allow the ranges that inputs declare.
    """
    if is_torchscript(model) or isinstance(model, ExportedProgram) or not callable(model):
        kind = type(model).__name__
        raise UserError(
            f"ir='torch_compile' takes an nn.Module or a function, and was given a {kind}: use ir='default'."
        )
    compiled: Any = torch.compile(model, backend=backend)
    object.__setattr__(compiled, "graphs", backend.graphs)
    check_weights(_module_of(model))
    if inputs is None and kwargs is None:
        return compiled
    check_containers(inputs, kwargs)
    check_signature(getattr(model, "forward", model), inputs or (), kwargs or {})
    module = _module_of(model)
    on_gpu = backend.settings.executor == "tensorrt" and torch.cuda.is_available()
    args, named = example_arguments(module, inputs or (), kwargs or {}, "cuda" if on_gpu else "cpu")
    declared = pytree.tree_leaves((tuple(inputs or ()), dict(kwargs or {})), is_leaf=is_declared)
    if profile_count(item for item in declared if isinstance(item, Input)) > 1:
        raise UserError(
            "ir='torch_compile' has one range of sizes for a graph, and the inputs declare several profiles: use "
            "ir='dynamo', or give one range."
        )
    mark_dynamic: Any = torch._dynamo.mark_dynamic
    for item, example in zip(declared, pytree.tree_leaves((args, named)), strict=True):
        for dim in item.dynamic_dims if isinstance(item, Input) else ():
            mark_dynamic(example, dim, min=item.min_shape[dim], max=item.max_shape[dim])
    try:
        with kept_state(module, (args, named)), quiet_rejection(), torch.no_grad():
            _compile_for(compiled, backend, args, named)
    except (torch._dynamo.exc.UserError, ConstraintViolationError) as error:
        raise UserError(f"the model does not allow the ranges that its inputs declare: {_limits(error)}") from error
    except torch._dynamo.exc.TorchRuntimeError as error:
        raise UserError(f"the model does not take these inputs: {_last_line(error)}") from error
    except TypeError as error:
        hint = hint_at_shapes([*args, *named.values()])
        raise UserError(f"the model does not take these inputs: {str(error).splitlines()[0]}.{hint}") from error
    return compiled


def _compile_for(compiled: Any, backend: TorchCompileBackend, args: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Call what torch.compile made; that dynamo cannot prove what holds for all declared sizes is no reason not to."""
    try:
        compiled(*args, **named)
    except ConstraintViolationError as error:
        if not hold_for_all(error):
            raise
        backend.reset()
        with limits_not_proved():
            compiled(*args, **named)


def _module_of(model: Any) -> torch.nn.Module:
    """The model, or that of which it is a method; an empty one for a function."""
    owner = model if isinstance(model, torch.nn.Module) else getattr(model, "__self__", None)
    return owner if isinstance(owner, torch.nn.Module) else torch.nn.Module()


def _limits(error: Exception) -> str:
    """The sizes that a model allows, of all that dynamo tells about them."""
    text = _readable(str(error))
    constant = re.search(r"marked (\S+) as dynamic but your code specialized it to be a constant \((\d+)\)", text)
    if constant is not None:
        return f"{constant[1]} is always {constant[2]}: declare that, or change the model."
    broken = condition_not_held(error)
    if broken is not None:
        # A size of 1 gets a graph of its own, so that 2 is no limit of the model's.
        condition = re.sub(r"^2 <= (\S+) and (?=\1 )", "", _readable(broken))
        return f"{condition} must hold: declare ranges inside that."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _readable(text: str) -> str:
    return re.sub(r"L\['(\w+)'\]((?:\[[^\]]+\])*)\.size\(\)\[(\d+)\]", r"\1\2.shape[\3]", text)


def _last_line(error: Exception) -> str:
    """What an operator said, of all that dynamo tells about it."""
    found = re.findall(r"got (\w*(?:Error|Exception)\(.*)\)", str(error))
    return found[0].partition("(")[2].strip("'\"") if found else str(error).splitlines()[0]


def _raise(error: UserError, *args: Any) -> None:
    raise error


def _compiled_graph(
    graph: GraphModule,
    settings: Settings,
    compile_program: Callable[..., Any],
    gradients: bool = True,
    found: DynamoGraph | None = None,
) -> CompiledGraph:
    _make_numbers_constant(graph)
    compile_id = torch._guards.CompileContext.current_compile_id()
    frame, recompile = (compile_id.frame_id or 0, compile_id.frame_compile_id or 0) if compile_id else (0, 0)
    name = f"graph-{frame:02}" + (f"-{recompile}" if recompile else "")
    if settings.dump_dir is not None:
        if compile_id is not None and not recompile:
            # Numbers only grow in a run, so dumps with this number or a larger one are of an earlier run.
            remove_graphs(Path(settings.dump_dir), frame)
        settings = settings.updated({"dump_dir": os.path.join(settings.dump_dir, name)})
    return CompiledGraph(found or DynamoGraph.of(graph), settings, compile_program, name, recompile, gradients)


def _make_numbers_constant(graph: GraphModule) -> None:
    """Let dynamo start over with numbers of modules as constants, such as the `eps` of a normalization.

    Under `dynamic=True` it makes them inputs, which no converter could take. Floats that a caller passes stay inputs.
    """
    from torch._dynamo.exc import TensorifyScalarRestartAnalysis
    from torch._dynamo.source import LocalSource
    from torch._dynamo.symbolic_convert import TensorifyState

    symbols = []
    for node in graph.graph.find_nodes(op="placeholder"):
        found = node.meta.get("grapharg")
        if getattr(found, "pass_arg_as_tensor", False) and not isinstance(found.source, LocalSource):
            symbols += _symbols(node)
    new = [name for name in symbols if not TensorifyState.should_specialize(name)]
    for name in new:
        TensorifyState.specialize(name)
    if new:
        raise TensorifyScalarRestartAnalysis


def _symbols(node: Node) -> list[str]:
    memo = getattr(node.meta.get("example_value"), "item_memo", None)
    return [] if memo is None else [str(memo.node._expr)]
