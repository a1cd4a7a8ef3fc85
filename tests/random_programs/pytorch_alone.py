"""What PyTorch's own front ends do with a program, without this package: whether they fail on it as well."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import torch
from torch import nn
from torch._export.converter import TS2EPConverter
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from .compare import difference
from .program import Program, mode_of


def exported(program: Program, model: nn.Module) -> ExportedProgram:
    """The model as a user exports it, with dynamic dimensions for the ranges; raises what torch.export does."""
    usual = {name: max(usual, 2) if low != high else usual for name, (low, usual, high) in program.ranges.items()}
    args, kwargs = program.placed(program.inputs(usual))
    dims = {name: Dim(name, min=low, max=high) for name, (low, _, high) in program.ranges.items() if low != high}
    shapes = {
        a.name: {dim: dims[name] for dim, name in enumerate(a.shape) if isinstance(name, str) and name in dims}
        for a in program.arguments
    }
    placed_args, placed_kwargs = program.placed(shapes)
    places = {a.place for a in program.arguments}
    positional = [a.name for a in program.arguments if a.place == "positional"]
    positional += [name for name, place in (("batch", "dict"), ("items", "list")) if place in places]
    dynamic = {**dict(zip(positional, placed_args, strict=False)), **placed_kwargs}
    if "rest" in places:
        dynamic["rest"] = placed_args[len(positional) :]
    if "named" in places:
        dynamic["named"] = {a.name: dynamic.pop(a.name) for a in program.arguments if a.place == "named"}
    return torch.export.export(model, args, kwargs or None, dynamic_shapes=dynamic if program.ranges else None)


def export_fails(program: Program) -> bool:
    """Whether torch.export, or what it is followed by (`run_decompositions`), takes no such model."""
    program = program.with_case(executor="pytorch")
    return _fails(program, lambda model: exported(program, model).run_decompositions({}))


def ranges_fail(program: Program) -> bool:
    """Whether torch.export takes the model for fewer sizes than its ranges, or for one size only."""
    program = program.with_case(executor="pytorch")

    def attempt(model: nn.Module) -> None:
        found = exported(program, model)
        limits = [
            (tensor.meta["val"].shape[dim], program.ranges[name])
            for tensor, argument in zip(_user_tensors(found), program.in_order(), strict=True)
            for dim, name in enumerate(argument.shape)
            if isinstance(name, str)
        ]
        for size, (low, _, high) in limits:
            allowed = _allowed(found, size)
            if allowed[0] > low or allowed[1] < high:
                raise ValueError(f"{size} allows {allowed}")

    return _fails(program, attempt)


def branches_differ(program: Program) -> bool:
    """Whether the graph that torch.export makes of the model is not what it does at some of its smallest sizes.

    It raises there, gives other results, or its own tensors are of other sizes than it says.
    """
    program = program.with_case(executor="pytorch")

    def attempt(model: nn.Module) -> None:
        alone = exported(program, model).run_decompositions({}).module()
        choices = (range(low, min(low + 3, high + 1)) for low, _, high in program.ranges.values())
        for sizes in itertools.product(*choices):
            dims = dict(zip(program.ranges, sizes, strict=True))
            try:
                expected = _called(program, program.model(), program.inputs(dims))
            except Exception:
                continue
            args, kwargs = program.placed(program.inputs(dims))
            leaves = pytree.tree_leaves((args, kwargs))
            found = pytree.tree_leaves(_SizesAsWritten(alone).run(*leaves))
            text = difference(found, expected)
            if text:
                raise ValueError(text)

    return _fails(program, attempt)


def sizes_differ(program: Program, alone: GraphModule) -> bool:
    """Whether operators in a graph of torch.export's make other sizes, at some sizes of the program, than it says.

    A few do where a tensor is empty: `pixel_unshuffle` then gives a tensor of the shape it was given.
    """
    for dims in program.sizes():
        args, kwargs = program.placed(program.inputs(dims))
        try:
            _SizesAsWritten(alone).run(*pytree.tree_leaves((args, kwargs)))
        except ValueError:
            return True
    return False


class _SizesAsWritten(torch.fx.Interpreter):
    """Runs a graph, and raises where a tensor has another size than its node says, as a number or of its inputs."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__(module)
        self._known: dict[Any, int] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        result, value = super().run_node(n), n.meta.get("val")
        if isinstance(value, torch.Tensor) and isinstance(result, torch.Tensor):
            for size, written in zip(result.shape, value.shape, strict=True):
                expr = written.node.expr if isinstance(written, torch.SymInt) else written
                if n.op == "placeholder" and not isinstance(expr, int):
                    self._known[expr] = size
                expr = expr if isinstance(expr, int) else expr.xreplace(self._known)
                if (isinstance(expr, int) or expr.is_Integer) and size != int(expr):
                    raise ValueError(f"{n.name} is of size {tuple(result.shape)}, not {tuple(value.shape)}")
        return result


def _user_tensors(found: ExportedProgram) -> list[Any]:
    names = found.graph_signature.user_inputs
    return [node for node in found.graph.find_nodes(op="placeholder") if node.name in names]


def _allowed(found: ExportedProgram, size: Any) -> tuple[float, float]:
    if not isinstance(size, torch.SymInt):
        return float(size), float(size)
    bounds = found.range_constraints.get(size.node.expr)
    return (float(bounds.lower), float(bounds.upper)) if bounds is not None else (0.0, float("inf"))


def symbolic_trace_fails(program: Program) -> bool:
    """Whether torch.fx's symbolic tracing takes no such model, or records something else than it computes."""
    program = program.with_case(executor="pytorch")

    def attempt(model: nn.Module) -> None:
        twin = program.model()
        traced = torch.fx.symbolic_trace(model)
        # A second call shows what was written to the model.
        for dims in [*program.sizes(), program.sizes(1)[0]]:
            given, expected_given = program.inputs(dims), program.inputs(dims)
            found, expected = (_called(program, one, to) for one, to in ((traced, given), (twin, expected_given)))
            text = difference([*found, *given.values()], [*expected, *expected_given.values()])
            if text:
                raise ValueError(text)

    return _fails(program, attempt)


def _called(program: Program, model: nn.Module, tensors: dict[str, torch.Tensor]) -> list[Any]:
    args, kwargs = program.placed(tensors)
    return list(pytree.tree_leaves(model(*args, **kwargs)))


def conversion_fails(program: Program) -> bool:
    """Whether PyTorch's converter of TorchScript takes no such model, once scripted or traced."""
    program = program.with_case(executor="pytorch")

    def attempt(model: nn.Module) -> None:
        args, kwargs = program.placed(program.inputs(program.sizes(1)[0]))
        TS2EPConverter(scripted(program, args), args, kwargs or None).convert()

    return _fails(program, attempt)


def scripting_fails(program: Program) -> bool:
    """Whether TorchScript has no way to write such a model."""
    return _fails(program, torch.jit.script)


def saving_fails(program: Program) -> bool:
    """Whether the model in TorchScript cannot be saved."""
    program = program.with_case(executor="pytorch")
    args, _ = program.placed(program.inputs(program.sizes(1)[0]))
    return _fails(program, lambda model: scripted(program, args).save_to_buffer())


def call_of_script_fails(program: Program) -> bool:
    """Whether the model in TorchScript cannot be called at some of its sizes, as a trace that unpacks lists."""
    program = program.with_case(executor="pytorch")

    def attempt(model: nn.Module) -> None:
        usual, *_ = every = program.sizes()
        script = scripted(program, program.placed(program.inputs(usual))[0])
        for dims in every:
            args, kwargs = program.placed(program.inputs(dims))
            script(*args, **kwargs)

    return _fails(program, attempt)


def scripted(program: Program, args: tuple[Any, ...]) -> torch.jit.ScriptModule:
    """The model in TorchScript, traced where it cannot be scripted; what torch.jit.trace raises where neither."""
    try:
        return torch.jit.script(program.model())
    except Exception:
        return torch.jit.trace(program.model(), args, check_trace=False)


def _fails(program: Program, attempt: Any) -> bool:
    """Whether an attempt on the model raises, on the CPU."""
    torch._dynamo.reset()
    try:
        with warnings.catch_warnings(), mode_of(program):
            warnings.simplefilter("ignore")
            attempt(program.model())
    except Exception:
        return True
    return False
