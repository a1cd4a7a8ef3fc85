"""Whether an exported graph is what the model does at certain sizes: both are run there, without computing anything.

torch.export decides by the example's sizes, and assumes that what varies is never 1. Most such decisions change
nothing, as whether a result of one column counts as contiguous; some do, as `squeeze()`. So the model and the graph
are run with fake tensors of the sizes in question, and must call the same operators with results of the same shapes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Interpreter, Node
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ..ir.aliasing import counting
from ..ir.source import source_of
from ..ir.symbols import expression

Sizes = Mapping[sympy.Symbol, int]

_NO_VALUE = frozenset({"alias", "detach", "detach_", "lift_fresh", "lift_fresh_copy"})
"""Operators that give their input back, which tracing puts in and leaves out."""


_NO_VALUE_IN_SAME_SHAPE = frozenset(
    {"slice", "expand", "view", "_unsafe_view", "reshape", "repeat", "clone", "_to_copy"}
)
"""Operators that give their input, or a copy of it, where its shape and type are those of the result.

Models call them for some sizes only, as `expand` for a batch of more than one; Python leaves out slices of everything.
"""


_RETURN = "return"
"""Stands for the name of an operator where a run returns numbers."""


class GraphDiffers(Exception):
    """The graph is not what the model does; the message says in what, as the end of a sentence."""


@dataclass(frozen=True)
class GraphTrial:
    """Tries an exported graph at sizes, without the model: whether results have the shapes that tracing noted.

    Attributes:
        exported: the graph.
        usual: the sizes that it was exported for.
    """

    exported: ExportedProgram
    usual: Sizes

    def check(self, sizes: Sizes, by_results: bool = False) -> None:
        """Raise GraphDiffers if the graph does something else at these sizes than it says, or is not for them.

        Sizes at which its operators raise are none of those that it computes something else for. With `by_results`
        only the shapes of results count, and not what torch.export noted of sizes.
        """
        sizes = {**self.usual, **sizes}
        if not by_results:
            try:
                self._check_guards(sizes)
            except GraphDiffers:
                if self._computes(sizes):
                    raise
                return
        self._of_graph(sizes)

    def _computes(self, sizes: Sizes) -> bool:
        """Whether the graph computes something at these sizes, be it what it says or not."""
        try:
            self._of_graph(sizes)
        except GraphDiffers:
            return True
        except Exception:
            return False
        return True

    def _check_guards(self, sizes: Sizes) -> None:
        """What torch.export noted of sizes is checked when the module that it makes of a graph is called."""
        guards = getattr(self.exported.module(), "_guards_fn", None)
        if guards is None or any(hasattr(spec.arg, "value") for spec in self._user_specs()):
            return
        inputs = [torch.empty(shape, dtype=value.dtype, device="meta") for shape, value in self._pairs(sizes)]
        try:
            guards(*inputs)
        except AssertionError as error:
            raise GraphDiffers(f"torch.export noted that it is not for them: {error}") from error

    def _pairs(self, sizes: Sizes) -> list[tuple[list[Any], torch.Tensor]]:
        return list(zip(self._shapes(sizes), self._values(), strict=True))

    def _user_specs(self) -> list[Any]:
        return [spec for spec in self.exported.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]

    def _of_graph(self, sizes: Sizes) -> list[Any]:
        mode = _fake_mode()
        tensors = iter(self._inputs(mode, sizes))
        inputs = [self._input(mode, spec, tensors) for spec in self.exported.graph_signature.input_specs]
        log = OperatorLog()
        with torch.no_grad(), mode, log:
            results = _Checked(self.exported, sizes).run(*inputs)
        specs = self.exported.graph_signature.output_specs
        kept = [value for value, spec in zip(results, specs, strict=True) if spec.kind is OutputKind.USER_OUTPUT]
        return [*log.calls, _returned(kept)]

    def _input(self, mode: FakeTensorMode, spec: Any, tensors: Any) -> Any:
        if spec.kind is not InputKind.USER_INPUT:
            found = self.exported.state_dict.get(spec.target)
            found = self.exported.constants.get(spec.target) if found is None else found
            # What only real tensors go into is computed, and the graph may write to them.
            return mode.from_tensor(found, static_shapes=True) if isinstance(found, torch.Tensor) else found
        return spec.arg.value if hasattr(spec.arg, "value") else next(tensors)

    def _inputs(self, mode: FakeTensorMode, sizes: Sizes) -> list[torch.Tensor]:
        with mode:
            return [
                torch.empty(shape, dtype=value.dtype, device=value.device)
                for shape, value in zip(self._shapes(sizes), self._values(), strict=True)
            ]

    def _shapes(self, sizes: Sizes) -> list[list[Any]]:
        return [[size_at(size, sizes) for size in value.shape] for value in self._values()]

    def _values(self) -> list[torch.Tensor]:
        """What the graph knows of its inputs, in their order."""
        nodes = {node.name: node for node in self.exported.graph.find_nodes(op="placeholder")}
        values = [nodes[spec.arg.name].meta["val"] for spec in self._user_specs() if not hasattr(spec.arg, "value")]
        if not all(isinstance(value, torch.Tensor) for value in values):
            raise TypeError("an input is no tensor")
        return values


@dataclass(frozen=True)
class SizeTrial(GraphTrial):
    """Tries an exported graph at sizes, beside the model.

    Attributes:
        model: what it was exported from, as a function of the arguments.
        leaves: the arguments of the call, flattened, as they were given to torch.export.
        spec: how they were nested: `(args, kwargs)`.
        traced: enters what tracing the model enters.
        example: makes an argument of a shape, given the one for the usual sizes.
    """

    model: Callable[..., Any]
    leaves: Sequence[Any]
    spec: pytree.TreeSpec
    traced: Callable[[], AbstractContextManager[Any]]
    example: Callable[[int, Sequence[int]], torch.Tensor]

    def check(self, sizes: Sizes, by_results: bool = False) -> None:
        """Raise GraphDiffers unless the graph is what the model does at these sizes, or neither of them takes them.

        Args:
            sizes: by symbol; the others have their usual values.
            by_results: whether other operators that yield the same numbers for random inputs are the same: models
                often leave out for a size of 1 what does nothing then.
        """
        sizes = {**self.usual, **sizes}
        try:
            wanted = self._of_model(sizes)
        except Exception as error:
            self._of_model(self.usual)  # whatever prevents this as well, prevents a trial
            self._check_raises(sizes, error)
            return
        found = self._of_graph(sizes)
        if wanted == found or _difference(wanted, found) == self._usual_difference():
            return
        if not (by_results and self._same_results(sizes)):
            raise GraphDiffers(_first_difference(wanted, found))

    def _same_results(self, sizes: Sizes) -> bool:
        shapes = iter(self._shapes(sizes))
        leaves = [
            self.example(index, next(shapes)) if isinstance(leaf, torch.Tensor) else leaf
            for index, leaf in enumerate(self.leaves)
        ]
        results = []
        for run in (self.model, self.exported.module(check_guards=False)):
            copies = [leaf.clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
            args, kwargs = pytree.tree_unflatten(copies, self.spec)
            with self.traced(), torch.no_grad():
                results.append(pytree.tree_leaves(run(*args, **kwargs)))
        try:
            torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5, equal_nan=True)
        except AssertionError:
            return False
        return True

    def _usual_difference(self) -> Any:
        return _difference(self._of_model(self.usual), self._of_graph(self.usual))

    def _of_model(self, sizes: Sizes) -> list[Any]:
        mode = _fake_mode()
        tensors = iter(self._inputs(mode, sizes))
        leaves = [next(tensors) if isinstance(leaf, torch.Tensor) else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        log = OperatorLog()
        # Dynamo, which torch.cond and while_loop call, would remember what it found under these modes.
        with self.traced(), torch.compiler.set_stance("force_eager"), torch.no_grad(), mode, log:
            results = pytree.tree_leaves(self.model(*args, **kwargs))
        return [*log.calls, _returned(results)]

    def _check_raises(self, sizes: Sizes, error: Exception) -> None:
        """Raise GraphDiffers if the graph computes something where the model raises."""
        if not self._computes(sizes):
            return
        text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise GraphDiffers(f"the model raises {text[:200]} there, where the graph does not")


def size_at(size: Any, sizes: Sizes) -> Any:
    """A size of an exported graph where its symbols have these values; None where it depends on values of tensors."""
    found = expression(size)
    if isinstance(found, sympy.Basic):
        found = found.xreplace({symbol: sympy.Integer(value) for symbol, value in sizes.items()})
        return int(found) if found.is_Integer else None
    return found


def _fake_mode() -> FakeTensorMode:
    return FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())


class _Checked(Interpreter):
    """Runs a graph, and compares the shapes of results with those that tracing noted, at some sizes."""

    def __init__(self, exported: ExportedProgram, sizes: Sizes) -> None:
        super().__init__(exported.graph_module, garbage_collect_values=True)
        self.extra_traceback = False  # which would become part of messages
        self._sizes = sizes
        self._counting = counting(exported.graph)

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if n not in self._counting:
            return result
        for value, noted in zip(pytree.tree_leaves(result), pytree.tree_leaves(n.meta.get("val")), strict=False):
            if isinstance(value, torch.Tensor) and isinstance(noted, torch.Tensor):
                wanted = [size_at(size, self._sizes) for size in noted.shape]
                shape = [size if isinstance(size, int) else None for size in value.shape]
                pairs = itertools.zip_longest(shape, wanted, fillvalue=0)
                if len(shape) != len(wanted) or any(a != b for a, b in pairs if None not in (a, b)):
                    place = f" ({source_of(n)})" if source_of(n) else ""
                    raise GraphDiffers(f"%{n.name}{place} has the shape {shape} there, where the graph has {wanted}")
        return result


class OperatorLog(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The calls of operators: name, numbers among the arguments, shapes of the results."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2] if hasattr(func, "_schema") else str(func)
        makes = any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(result))
        if makes and name not in _NO_VALUE and not (name in _NO_VALUE_IN_SAME_SHAPE and _is_same(args[0], result)):
            numbers = tuple(map(_number, pytree.tree_leaves(_given(name, args, kwargs or {}))))
            self.calls.append((name, numbers, tuple(map(_number, pytree.tree_leaves(result)))))
        return result


def _given(name: str, args: Any, kwargs: Any) -> Any:
    """The arguments of a call; of a slice only what tells which it is, of the many ways in which it can be written."""
    if name != "slice" or not args:
        return args, kwargs
    defaults: tuple[Any, ...] = (0, None, None, 1)
    given: list[Any] = [*args, *defaults[len(args) - 1 :]]
    x, dim, start, _, step = given
    size = x.shape[dim]
    if not isinstance(start, int | None) or not isinstance(size, int):
        return args, kwargs
    first = min(max((start or 0) + (size if (start or 0) < 0 else 0), 0), size)
    return (x, dim % max(x.dim(), 1), first, step), kwargs


def _returned(results: Sequence[Any]) -> Any:
    """What stands at the end of a log for the results: numbers, and shapes of tensors."""
    return _RETURN, tuple(map(_number, results)), ()


def _is_same(given: Any, result: Any) -> bool:
    """Whether two tensors agree in shape, type and device."""
    if not isinstance(given, torch.Tensor) or not isinstance(result, torch.Tensor):
        return False
    # As texts, since sizes that depend on values cannot be compared.
    shapes = [tuple(map(str, tensor.shape)) for tensor in (given, result)]
    return shapes[0] == shapes[1] and given.dtype == result.dtype and given.device == result.device


def _number(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return tuple(size if isinstance(size, int) else "?" for size in value.shape), value.dtype
    return "?" if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool) else str(value)


def _difference(wanted: list[Any], found: list[Any]) -> Any:
    """The operators that only one of two runs calls, in order."""
    if wanted == found:
        return []
    steps = SequenceMatcher(None, wanted, found, autojunk=False).get_opcodes()
    return [
        ([call[0] for call in wanted[a:b]], [call[0] for call in found[c:d]])
        for kind, a, b, c, d in steps
        if kind != "equal"
    ]


def _first_difference(wanted: list[Any], found: list[Any]) -> str:
    pairs = zip([*wanted, None], [*found, None], strict=False)
    ours, graphs = next((a, b) for a, b in pairs if a != b)
    return f"the model {_call_text(ours)} there, where the graph {_call_text(graphs)}"


def _call_text(call: Any) -> str:
    if call is None:
        return "calls nothing more"
    arguments = ", ".join(map(_shown, call[1]))
    return f"returns {arguments}" if call[0] == _RETURN else f"calls aten.{call[0]}({arguments})"


def _shown(argument: Any) -> str:
    return f"tensor{list(argument[0])}" if isinstance(argument, tuple) else str(argument)
