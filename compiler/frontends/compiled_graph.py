"""One graph of torch.compile: built when it is first called, and again when what was built into it has changed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import GraphModule
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ..errors import UserError
from ..ir.program import Program
from ..ir.tracing import tracing
from ..report.report import Report
from ..settings import Settings
from .built_graph import BuiltGraph
from .dynamo_graph import DynamoGraph, Traced
from .returned_views import returns_view_of_written
from .training_mode import training_operator

_LOG = logging.getLogger("trt_passes")
_PLAIN = frozenset({torch.Tensor, nn.Parameter, int})

Compile = Callable[[Program, Settings], GraphModule]


class CompiledGraph:
    """A graph that dynamo found in a model, as a function of all of its inputs.

    Parameters and buffers become part of the engines, which read no memory of theirs then, and stay the model's own
    tensors in what PyTorch runs. Every call looks whether they were replaced or written to since (also by an optimizer
    or `load_state_dict`; writes through `tensor.data` cannot be seen). A buffer that was is an input from then on; for
    parameters the graph is built again, as often as `torch._dynamo.config.recompile_limit` allows. With the option
    `mutable_weights` all of them are inputs from the start. A size beyond the range that was built for builds a larger
    range.

    Args:
        gradients: whether a graph whose results require gradients is left to PyTorch, which computes them. Else its
            results are without, as those of engines are.

    Attributes:
        name: "graph-00" and so on, after dynamo's number of the frame, as in `TORCH_LOGS`.
        recompile: how often dynamo had compiled the same frame before.
        builds: how often engines were built.
        report: of the last build; None before the first.
        reason: why the graph is left to PyTorch; None if it is not.
    """

    def __init__(
        self,
        graph: DynamoGraph,
        settings: Settings,
        compile_program: Compile,
        name: str,
        recompile: int = 0,
        gradients: bool = True,
    ) -> None:
        self.name, self.recompile, self.builds = name, recompile, 0
        self.report: Report | None = None
        self.reason: str | None = None
        self._graph, self._compile = graph, compile_program
        # Dynamo's graphs take weights as arguments, and do not say what the model calls them.
        self._mutable = bool(settings.mutable_weights)
        self._settings = settings.updated({"mutable_weights": False})
        self._built: BuiltGraph | None = None
        self._inputs: set[int] = set()
        _count("graphs")
        if recompile:
            _count("recompiles")
        self._detached = graph.requires_grad and not gradients
        if graph.requires_grad and gradients:
            self._leave("its results require grad: call it under torch.no_grad(), or freeze the model's parameters")

    def __call__(self, *args: Any) -> Any:
        built = self._built
        if built is not None and built.fits(args):
            return self._run(built, args)
        if self.reason is None:
            built = self._rebuilt(args)
            if built is not None:
                return self._run(built, args)
        return self._graph.module(*args)

    def _run(self, built: BuiltGraph, args: Sequence[Any]) -> Any:
        if self._detached:
            with torch.no_grad(), self._graph.without_autocast():
                return built(args)
        if not self._graph.autocast:
            return built(args)
        with self._graph.without_autocast():
            return built(args)

    def _rebuilt(self, args: Sequence[Any]) -> BuiltGraph | None:
        """What runs these arguments; None if PyTorch does."""
        with tracing():
            if self._built is not None and self._built.fits(args):
                return self._built
            if torch._C._dispatch_tls_is_dispatch_key_excluded(torch._C.DispatchKey.PythonTLSSnapshot):
                self._leave("it is called by a tensor class's __torch_dispatch__, where PyTorch traces nothing")
                return None
            if not self._are_plain(args) or (self._built is not None and not self._may_rebuild(args)):
                return None
            # Whatever was built for weights that are no more must not run again.
            self._built = None
            try:
                with torch.inference_mode(False), torch.no_grad(), self._graph.without_autocast():
                    built = self._built = self._build(args)
            except _Rejected as error:
                self._failed(error.cause)
            except UserError:
                raise
            except Exception as error:
                self._failed(error)
            else:
                return built if built is not None and built.fits(args) else None
        return None

    def _are_plain(self, args: Sequence[Any]) -> bool:
        """Whether the arguments are what engines take; notes what else a caller uses, other than to trace.

        A weight may wrap other tensors, as quantised ones do: it is taken apart.
        """
        weights = set(self._graph.weights(args))
        wrapped = {type(args[i]) for i in weights if is_traceable_wrapper_subclass(args[i])}
        outside = {type(item) for i, item in enumerate(args) if i not in weights}
        others = set(map(type, args)) - _PLAIN - (wrapped - outside)
        # Sizes of a nested tensor's rows are symbols in a real call, too.
        foreign = sorted(kind.__name__ for kind in others if not issubclass(kind, torch.SymInt))
        if foreign and not any(issubclass(kind, FakeTensor) for kind in others):
            self._leave(f"an argument is a {foreign[0]}, which is no plain tensor")
        return not others

    def _failed(self, error: Exception) -> None:
        if self._settings.pass_through_build_failures:
            raise error
        lines = str(error).splitlines() or [type(error).__name__]
        self._leave(f"it cannot be compiled: {lines[0].rstrip('.')}")

    def _may_rebuild(self, args: Sequence[Any]) -> bool:
        """Whether building again lets these arguments run; notes which buffers are inputs from now on."""
        assert self._built is not None
        changed = self._built.changed(args)
        buffers = {i for i in changed if not isinstance(args[i], nn.Parameter)}
        self._inputs |= buffers
        if changed == buffers:
            return bool(changed) or self._built.can_grow(args)
        if self.builds <= torch._dynamo.config.recompile_limit:
            return True
        self._leave(f"its parameters changed {self.builds} times, and engines hold them")
        return False

    def _build(self, args: Sequence[Any]) -> BuiltGraph | None:
        traced = self._traced(args)
        training = training_operator(traced.program)
        if training is not None:
            self._leave(f"{training} is in training mode: call model.eval()")
            return None
        if returns_view_of_written(traced.program):
            self._leave("it returns a view of a tensor that it writes to: return a clone of the view")
            return None
        module = self._compile(traced.program, self._settings)
        self.builds += 1
        _count("builds")
        self.report = module.report  # type: ignore[assignment]
        assert self.report is not None
        _LOG.info("%s, recompile %d, build %d: %s", self.name, self.recompile, self.builds, self.report.verdicts)
        if not self.report.segments or self.report.compiled is None:
            self.reason = "nothing in it goes to TensorRT" if not self.report.segments else "option 'dryrun' is on"
            return None
        return BuiltGraph.of(module, traced, args)

    def _traced(self, args: Sequence[Any]) -> Traced:
        while True:
            weights = () if self._mutable else self._graph.weights(args)
            constants = [index for index in weights if index not in self._inputs]
            try:
                traced = self._graph.trace(args, constants)
            except Exception as error:
                raise _Rejected(error) from error
            if not traced.written:
                return traced
            # Exported again, because a constant that is written to could not be replaced by another tensor.
            self._inputs |= traced.written

    def _leave(self, reason: str) -> None:
        self.reason, self._built = reason, None
        _count("left_to_pytorch")
        warnings.warn(f"{self.name} is left to PyTorch, because {reason}.", RuntimeWarning, stacklevel=2)

    def __repr__(self) -> str:
        what = self.reason or f"{self.builds} builds"
        return f"CompiledGraph({self.name}, recompile {self.recompile}, {what})"


def _count(what: str) -> None:
    torch._dynamo.utils.counters["trt_passes"][what] += 1


class _Rejected(Exception):
    """The graph could not be exported, which is no mistake in what the user asked for."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause
