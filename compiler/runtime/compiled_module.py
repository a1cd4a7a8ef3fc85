"""The compiled program as a module that is called like the model."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.fx.graph import PythonCode
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..ir.aliasing import written_tensors
from ..ir.annotations import annotations_of
from ..ir.engine_operator import engine_calls
from ..ir.engine_spec import EngineSpec
from ..ir.left_out import LeftOut
from ..ir.memory import fingerprint
from ..ir.notebook import ShownInNotebooks
from .calls.argument_check import ArgumentCheck
from .calls.argument_order import ArgumentOrder
from .calls.usual_arguments import usual_arguments
from .compiled_segment import CompiledSegment
from .cuda_graphs.capturable import attributes_read
from .direct_calls import direct_forward, forward_of
from .engine.runtime_cache import RuntimeCache, runtime_cache
from .engine_graph import SEGMENTS, SPLICED, EngineGraph, compiled_segments, current_program, segments_of
from .fallback import move_made_tensors
from .islands import ISLANDS
from .operator import attach_runner
from .options import RuntimeOptions
from .runner import Notice, Runner
from .spliced_graph import SegmentParts
from .when_loaded import WEIGHTS, loaded_weights

if TYPE_CHECKING:
    from .cuda_graphs.cuda_graphs import CudaGraphs
    from .measure.errors import Errors
    from .measure.profile import Profile
    from .saving.allowed import Allowed

_LATER_CALLS = 3
"""Calls of `warm_up` after the first, as of a loop: until then large results get CUDA graphs that write to them."""


def _unread(name: str, weight: torch.Tensor, taken: Sequence[torch.Tensor]) -> bool:
    """Whether a weight of a model is none of its program, where equal weights are one and counters are not read."""
    if name.rpartition(".")[2] == "num_batches_tracked":
        return True
    return any(other.shape == weight.shape and other.dtype == weight.dtype and other.equal(weight) for other in taken)


class CompiledModule(ShownInNotebooks, EngineGraph):
    """A graph in which every engine call is `trt_passes::execute_engine`; parameters have the model's own names.

    What is traced (torch.compile, torch.export, fx, fake tensors) sees that graph. Other calls run code in which
    engines are called directly: the dispatcher would unpack the list of all weights each time. `recompile` makes both,
    so a graph that was edited runs as it reads.

    Results never require a gradient, whatever the inputs do. Engines are plain attributes, which `.to("cuda")` leaves
    where they are: TensorRT reads them from the host. Tensors that the graph makes are made where the module was moved.
    Copies share engines; weights are shared by copy.copy and copied by copy.deepcopy. A pickle is what `save` writes.

    Attributes:
        options: how the module runs.
        cuda_graphs: with the option of that name, its captures: `len` counts them, and `reason` says why there are
            none; else None.
        left_out: arguments that a call may have and the graph does not.
    """

    shown_by: ClassVar[str] = "module_bundle"

    cuda_graphs: CudaGraphs | None

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CompiledModule:
        """A module with the attributes of another GraphModule, its graph among them."""
        module = cls.__new__(cls)
        module.__dict__.update(state)
        module.recompile()
        return module

    def recompile(self) -> PythonCode:
        """Make `forward` anew, after the graph was edited."""
        code = super().recompile()
        cls = type(self)
        segments = compiled_segments(self)
        setattr(self, SEGMENTS, SimpleNamespace(**segments))
        vars(self)["_read"] = tuple(attributes_read(self))
        self._forget_captures()
        weights = loaded_weights(self)
        setattr(self, WEIGHTS, SimpleNamespace(**weights))
        shelf = vars(self).get("_shelf")
        direct, _ = direct_forward(self, segments, weights, self.options.islands == "inductor", shelf)
        cls.forward = forward_of(cls.forward, direct)
        # GraphModule has another one, which only adds the place in generated code to errors.
        setattr(cls, "__call__", nn.Module.__call__)  # noqa: B010  (a method, which is not assigned otherwise)
        return code

    def warm_up(self, *args: Any, **kwargs: Any) -> None:
        """Do now what the first call would do: load engines, compile kernels, capture, and write the runtime cache.

        Args:
            args, kwargs: as for a call; none for zeros of the usual shapes, on the GPU if there is one.
        """
        if not (args or kwargs):
            args, kwargs = self.usual_arguments()
        from .cuda_graphs.rehearsal import rehearsal

        leaves = pytree.tree_leaves((args, kwargs))
        device = next((leaf.device for leaf in leaves if isinstance(leaf, torch.Tensor)), self._usual_device())
        with rehearsal(self, device):
            kept = [self(*args, **kwargs)]
        written_inputs = written_tensors(self.graph)[1]
        if self.cuda_graphs is not None and self.cuda_graphs.has_direct_outputs and not written_inputs:
            for _ in range(_LATER_CALLS):
                with rehearsal(self, device):
                    kept[0] = self(*args, **kwargs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        for segment in self.segments.values():
            if segment.runner.runtime_cache is not None:
                segment.runner.runtime_cache.save()
                break

    def change_options(self, **options: Any) -> None:
        """Run in another way from now on, without compiling again; no other thread may be running the module.

        Args:
            options: fields of `RuntimeOptions`, such as `cuda_graphs`, `reuse_outputs` and `runtime_cache_path`.

        Raises:
            UserError: an option is none, has a value that it cannot have, or needs engines of another kind.
        """
        chosen = self.options.updated(options)
        path = chosen.runtime_cache_path
        if path == self.options.runtime_cache_path:
            self._change(chosen, self.runtime_cache)
        else:
            self._change(chosen, None if path is None else runtime_cache(path))

    @contextmanager
    def with_options(self, **options: Any) -> Iterator[CompiledModule]:
        """Run in another way meanwhile: `with compiled.with_options(cuda_graphs=True): …`, see `change_options`.

        What was captured or kept meanwhile is forgotten at the end.
        """
        before, cache = self.options, self.runtime_cache
        self.change_options(**options)
        try:
            yield self
        finally:
            self._change(before, cache)

    @property
    def runtime_cache(self) -> RuntimeCache | None:
        """What keeps the kernels that TensorRT-RTX compiles for the engines; modules may share one."""
        return next((segment.runner.runtime_cache for segment in self.segments.values()), None)

    @runtime_cache.setter
    def runtime_cache(self, cache: RuntimeCache | None) -> None:
        self._change(self.options, cache)

    def _change(self, options: RuntimeOptions, cache: RuntimeCache | None) -> None:
        same = (options.cuda_graphs, options.cuda_graph_limit, options.reuse_outputs) == (
            self.options.cuda_graphs,
            self.options.cuda_graph_limit,
            self.options.reuse_outputs,
        )
        for segment in self.segments.values():
            segment.runner.change(options, cache)
        before, self.options = self.options, options
        if before.islands != options.islands:
            self.recompile()
        if same:
            self._forget_captures()
        else:
            vars(self)["cuda_graphs"] = cuda_graphs_for(options)

    @torch.no_grad()
    def errors(self, *args: Any, **kwargs: Any) -> Errors:
        """How exact every op node is, against float64, and which lines of the model bring most of the error.

        The graph runs twice at once, as it is and without roundings. What is in engines is evaluated layer by layer by
        PyTorch, from TensorRT's networks where this process compiled them, else from the PyTorch graphs that they were
        made of. On a GPU the engines run too, and what leaves them is TensorRT's own.

        Args:
            args, kwargs: as for a call; on the device where the module is.

        Returns:
            `str` of it is a table of ten lines; `rows` has every node.
        """
        from .measure.errors import module_errors

        program = getattr(vars(self).get("report"), "program", None)
        networks = {item.name: item.network for item in program.segments if item.network} if program else {}
        places = {name: (source, module) for name, (source, module, _) in self.joins.places.items()}
        return module_errors(self, self.segments, networks, places, self.leaves(args, kwargs))

    @torch.no_grad()
    def profile(self, *args: Any, **kwargs: Any) -> Profile:
        """Where the run time of a call goes: kernel, TensorRT's layer, op node, module, line of the model.

        On a GPU, every kernel is measured by PyTorch's profiler, without CUDA graphs, and beside it stands what it
        would take at least by the memory bandwidth and the peak that are measured on this GPU. What PyTorch runs
        between the engines is listed by operator. With the executor "pytorch" on a CPU, PyTorch's operators are timed
        instead.

        Args:
            args, kwargs: as for a call; on the device where the module is.

        Returns:
            `str` of it is a table of ten lines.

        Raises:
            UserError: the inputs are on a CPU, and the executor is another.
        """
        from .measure.profiling import no_gpu, profile_on_cpu, profile_on_gpu

        leaves, segments, joins = self.leaves(args, kwargs), self.segments, self.joins
        on_gpu = any(isinstance(leaf, torch.Tensor) and leaf.is_cuda for leaf in leaves)
        twin = copy.deepcopy(self) if any(written_tensors(self.graph)) else self
        if not on_gpu:
            others = [item.executor for item in segments.values() if item.executor != "pytorch"]
            if others:
                raise no_gpu(others)
            return profile_on_cpu(twin, leaves, twin.segments, joins.places)
        device = next(leaf.device for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_cuda)
        return profile_on_gpu(
            lambda: twin(*args, **kwargs), twin, leaves, twin.segments, joins.layers, joins.places, device
        )

    def leaves(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """The values of the graph's placeholders for a call."""
        if self.left_out is not None and self.left_out.concerns(args, kwargs):
            args, kwargs = self.left_out.removed(args, dict(kwargs))
        order = ArgumentOrder.of(self)
        ordered = None if order is None else order.leaves(args, kwargs)
        return [*args, *kwargs.values()] if ordered is None else ordered

    def usual_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments for a call: zeros of the usual shapes, on the GPU if there is one."""
        return usual_arguments(self.meta[SPLICED], self._usual_device())

    def _usual_device(self) -> torch.device:
        weights = next(self.parameters(), None)
        if weights is not None and weights.is_cuda:
            return weights.device
        islands = any(self.get_tensor(name).device.type != "cuda" for name in self._read)
        return torch.device("cpu" if islands or not torch.cuda.is_available() else "cuda")

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> CompiledModule:
        for dtype in {tensor.dtype for tensor in (*self.parameters(), *self.buffers())}:
            if fn(torch.empty(0, dtype=dtype)).dtype != dtype:
                raise UserError(
                    "a compiled module keeps its data types, for which engines were built: compile a model of others, "
                    "or with other enabled_precisions."
                )
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

        # Constants, and tensors that the graph itself makes, must follow; what `fn` does to a tensor tells where.
        def moved(device: torch.device) -> torch.device:
            return fn(torch.empty(0, device=device)).device

        for name in set(self._read) - {name for name, _ in (*self.named_parameters(), *self.named_buffers())}:
            found, (owner, _, attribute) = attrgetter(name)(self), name.rpartition(".")
            if isinstance(found, torch.Tensor):
                setattr(self.get_submodule(owner), attribute, found.to(moved(found.device)))
            # Branches of torch.cond are attributes of the graph too.
            elif isinstance(found, GraphModule) and move_made_tensors(found.graph, moved):
                found.recompile()
        if move_made_tensors(self.graph, moved):
            self.recompile()
        self._forget_captures()
        return self

    def _forget_captures(self) -> None:
        graphs: CudaGraphs | None = vars(self).get("cuda_graphs")
        if graphs is not None:
            graphs.clear()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take the weights of a model, as its `load_state_dict` does; see the option `mutable_weights`.

        Left out are counters of batches, which only training needs, and second names of one weight.

        Raises:
            UserError: a weight differs from what engines hold of it.
        """
        held = self.fingerprints
        for name in sorted(held.keys() & state_dict.keys()):
            if fingerprint(state_dict[name]) != held[name]:
                raise UserError(
                    f"{name} is part of an engine, which holds what it was: compile with mutable_weights=True, or "
                    "compile a model with the new weights."
                )
        own = {name for name, _ in (*self.named_parameters(), *self.named_buffers())}
        taken = [value for key, value in state_dict.items() if key in own]
        wanted = {key: value for key, value in state_dict.items() if key in own or not _unread(key, value, taken)}
        return super().load_state_dict(wanted, strict, assign)

    def train(self, mode: bool = True) -> CompiledModule:
        """Accept eval mode, which is what was compiled.

        Raises:
            UserError: `mode` is True.
        """
        if mode:
            raise UserError("a compiled module cannot be trained: train the model, and compile it again.")
        return super().train(mode)

    def __copy__(self) -> CompiledModule:
        engines = {id(segment.engine): _copied_engine(segment) for segment in self.segments.values()}
        state = {key: engines.get(id(value), value) for key, value in vars(self).items()}
        own = {key: copy.copy(vars(self)[key]) for key in ("_parameters", "_buffers", "_modules")}
        return self.from_state({**state, **own, "cuda_graphs": cuda_graphs_for(self.options)})

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledModule:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        for segment in segments_of(self).values():
            memo[id(segment.engine)] = _copied_engine(segment)
            memo[id(segment.fallback)] = segment.fallback
        apart = ("meta", "report", "cuda_graphs", SEGMENTS, ISLANDS, WEIGHTS)
        twin.__dict__.update(copy.deepcopy({k: v for k, v in vars(self).items() if k not in apart}, memo))
        twin.meta = {**self.meta, SPLICED: current_program(self.meta[SPLICED], twin)}
        vars(twin)["cuda_graphs"] = cuda_graphs_for(self.options)
        if "report" in vars(self):
            vars(twin)["report"] = vars(self)["report"]
        twin.recompile()
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        from .saving.save import to_bytes

        return from_bytes, (to_bytes(self),)


def compiled_module(
    exported: ExportedProgram,
    parts: Mapping[str, SegmentParts],
    options: RuntimeOptions,
    left_out: LeftOut | None = None,
    allowed: Allowed | None = None,
    fingerprints: Mapping[str, str] | None = None,
) -> CompiledModule:
    """A module with the arguments and results of the model.

    Args:
        exported: a spliced program, see `spliced_graph`.
        parts: of segments that were compiled in this process, by name.
        options: how it runs.
        left_out: arguments that a call may have and the graph does not.
        allowed: the operators that the PyTorch graphs of segments from a file may call; by default those of PyTorch.
        fingerprints: of weights that engines were built with; of others, those of the weights as they are now.
    """
    module = exported.module(check_guards=False)
    assert isinstance(module, GraphModule)
    # Engines check their own inputs; torch.export's check would cost more than enqueueing a small engine.
    for hooks in (module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs, module._forward_hooks):
        hooks.clear()
    module._forward_hooks_always_called.clear()
    notice, path = Notice(), options.runtime_cache_path
    cache = None if path is None else runtime_cache(path)
    for node in engine_calls(module):
        _, engine, spec_text, fallback, _ = node.args
        spec, serialized = EngineSpec.loads(str(spec_text)), _attribute(module, fallback)
        built = parts.get(spec.name)
        runner = Runner(
            spec,
            _attribute(module, engine),
            options=options,
            fallback=None if built is None else built.module,
            serialized_fallback=serialized,
            allowed=allowed,
            reference=None if built is None else built.reference(),
            notice=notice,
            runtime_cache=cache,
        )
        attach_runner(_attribute(module, engine), runner)
    # torch.export replaces train and eval, and binds them to its own module.
    state = {key: value for key, value in vars(module).items() if key not in ("train", "eval")}
    state |= {"options": options, "cuda_graphs": cuda_graphs_for(options), "left_out": left_out}
    compiled = CompiledModule.from_state(state)
    compiled.meta[SPLICED] = exported
    known = fingerprints or {}
    vars(compiled)["_fingerprints"] = {
        name: known.get(name) or fingerprint(compiled.get_tensor(name))
        for name in _built_into_engines(compiled, exported)
    }
    check = ArgumentCheck.of(compiled, exported)
    if check is not None:
        compiled.register_forward_pre_hook(check, with_kwargs=True)
    return compiled.eval()


def _built_into_engines(compiled: CompiledModule, exported: ExportedProgram) -> list[str]:
    """Names of the weights of engines, and of those that such weights were computed from, where PyTorch reads them."""
    names = {name for segment in compiled.segments.values() for name in segment.constant_names}
    nodes = {node.name: node for node in exported.graph.find_nodes(op="placeholder")}
    known = {str(spec.target): nodes[spec.arg.name] for spec in exported.graph_signature.input_specs}
    sources = {source for name in names for source in annotations_of(known[name]).get("made_of", ())}
    return sorted(names | (sources & set(known)))


def from_bytes(data: bytes) -> CompiledModule:
    """The module that `load` would read from a file with these bytes, which came out of a pickle and are trusted."""
    from .saving.allowed import Allowed
    from .saving.save import loaded

    return loaded(io.BytesIO(data), "the pickled program", {}, Allowed(everything=True), compiled_module)


def cuda_graphs_for(options: RuntimeOptions) -> CudaGraphs | None:
    """What captures a module with these options."""
    if not options.cuda_graphs:
        return None
    from .cuda_graphs.cuda_graphs import CudaGraphs

    return CudaGraphs(options.cuda_graph_limit, options.reuse_outputs)


def _copied_engine(segment: CompiledSegment) -> torch.Tensor:
    """The engine for a copy of its module: the same bytes, run by a runner of its own."""
    return attach_runner(segment.engine.detach(), copy.copy(segment.runner))


def _attribute(module: GraphModule, node: Any) -> torch.Tensor:
    tensor = attrgetter(str(node.target))(module)
    assert isinstance(tensor, torch.Tensor)
    return tensor
