"""What the blocks of a TorchScript model are given where the model runs on the inputs of `check` and `calibration`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ...errors import UserError, first_line
from ...ir.check import Check
from ...settings import Settings
from .conversion import Script, arguments_by_name
from .inlined import Inlined
from .nodes import all_nodes
from .regions import Region

_LIBRARY = torch.library.Library("trt_passes", "FRAGMENT")  # type: ignore[no-untyped-call]
# Conservative: TorchScript must neither remove nor move it.
_LIBRARY.define("given_tensors(Tensor[] values) -> ()", "CONSERVATIVE")  # type: ignore[no-untyped-call]
_LIBRARY.impl("given_tensors", lambda values: None, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]

Call = tuple[Any, ...]


@dataclass(frozen=True)
class Calls:
    """The calls of one method that the options ask for, with all arguments in order.

    Attributes:
        check: of the option `check`; None without it.
        metric: of that option.
        calibration: of the option `calibration`; None without it.
    """

    check: Call | None = None
    metric: Any = None
    calibration: Sequence[Call] | None = None

    @classmethod
    def of(cls, script: Script, settings: Settings, usual: Sequence[Any]) -> Calls:
        """Those of a method that is compiled for usual arguments.

        Raises:
            UserError: they do not fit.
        """
        check, batches = settings.check, settings.calibration
        found = None
        if check is not None:
            given = (check.inputs or (), check.kwargs)
            found = _call(script, "the inputs of option 'check'", *given) if check.has_inputs else tuple(usual)
        calibration = None if batches is None else [_batch(script, *pair) for pair in enumerate(batches)]
        if calibration == []:
            raise UserError("option 'calibration' has no batches: give some, or leave it out.")
        return cls(found, check.metric if check is not None else None, calibration)

    def settings_of(self, settings: Settings, region: Region, model: Inlined) -> Settings:
        """The settings for a block: with what it is given in these calls, in the place of what the model is given."""
        if self.check is None and self.calibration is None:
            return settings
        changes: dict[str, Any] = {}
        if self.check is not None:
            given = recorded(model, region, [self.check], "the inputs of option 'check'")
            changes["check"] = Check(given[-1]) if given else True
        if self.calibration is not None:
            changes["calibration"] = recorded(model, region, self.calibration, "option 'calibration'") or None
            if changes["calibration"] is None and self.check is None:
                changes["max_half_output"] = None  # which is held against what it is given
        return settings.updated(changes)


def _batch(script: Script, number: int, batch: Any) -> Call:
    what = f"batch {number} of option 'calibration'"
    if isinstance(batch, Mapping):
        return _call(script, what, (), batch)
    args = tuple(batch) if isinstance(batch, list | tuple) else (batch,)
    return _call(script, what, args[: len(script.arguments)], {})  # what follows the arguments are labels


def _call(script: Script, what: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    try:
        given = arguments_by_name(script, args, kwargs)
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    defaults = {item.name: item.default_value for item in script.arguments if item.has_default_value()}
    return tuple({**defaults, **given}[item.name] for item in script.arguments)


@dataclass(eq=False)
class _Recorder(TorchDispatchMode):
    found: list[tuple[torch.Tensor, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name == "trt_passes::given_tensors":
            self.found.append(tuple(tensor.detach().clone() for tensor in args[0]))
            return None
        return func(*args, **(kwargs or {}))


def recorded(model: Inlined, region: Region, calls: Sequence[Call], what: str) -> list[tuple[torch.Tensor, ...]]:
    """The tensors that a region is given, each time that it is reached in calls of its method, with state kept.

    Raises:
        UserError: the method raises; `what` says of which inputs.
    """
    graph = model.graph.copy()
    values = dict(_pairs(model.graph, graph))
    last = values[region.ops[-1].outputs[0]].node() if region.ops[-1].outputs else None
    if last is None:
        return []
    packed = graph.create("prim::ListConstruct", [values[name] for name in region.tensors], 1)
    packed.output().setType(torch._C.ListType(torch._C.TensorType.get()))
    packed.insertBefore(last)
    graph.create("trt_passes::given_tensors", [packed.output()], 0).insertBefore(last)
    function: Any = torch._C._create_function_from_graph("forward", graph)
    module = copy.deepcopy(model.script)
    recorder = _Recorder()
    jit: Any = torch.jit
    with torch.no_grad(), jit.optimized_execution(True), recorder:
        for arguments in calls:
            try:
                function(module, *copy.deepcopy(arguments))
            except (RuntimeError, jit.Error) as error:
                lines = str(error).strip().splitlines()
                reason = lines[-1] if lines else first_line(error)
                raise UserError(f"{what}: the model raises {reason.rpartition('Error: ')[2]}") from error
    return recorder.found


def _pairs(block: Any, copied: Any) -> Iterator[tuple[str, Any]]:
    """The names of the values of a graph, and those of a copy."""
    yield from ((a.debugName(), b) for a, b in zip(block.inputs(), copied.inputs(), strict=True))
    for node, other in zip(all_nodes(block), all_nodes(copied), strict=True):
        yield from ((a.debugName(), b) for a, b in zip(node.outputs(), other.outputs(), strict=True))
        for inner, twin in zip(node.blocks(), other.blocks(), strict=True):
            yield from ((a.debugName(), b) for a, b in zip(inner.inputs(), twin.inputs(), strict=True))
