"""What Torch-TensorRT does to a program before it converts it, and is done by passes here when it is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.export import ExportedProgram

from ...passes.decompose import decompositions
from ..tensorrt.plugins import Decomposition, overloads_of
from .attention import ATTENTION
from .cleanups import CLEANUPS
from .compilation_settings import CompilationSettings
from .converters import REGISTERED
from .lowering_passes import PASSES
from .mistakes import InvalidValue


def get_decompositions(
    enable_experimental_decompositions: bool = False,
    decompose_attention: bool = False,
    use_distributed_mode_trace: bool = False,
    use_fp32_acc: bool = False,
) -> dict[Any, Callable[..., Any]]:
    """The decompositions that the pass `decompose` uses, for `ExportedProgram.run_decompositions`.

    Args:
        enable_experimental_decompositions: as there; here they are all those of core ATen, except of operators that
            TensorRT takes whole.
        decompose_attention: make products and a softmax of attention, which is kept whole otherwise.
        use_distributed_mode_trace, use_fp32_acc: as there; nothing depends on them here.
    """
    more = dict.fromkeys(ATTENTION.targets, ATTENTION.rule) if decompose_attention else {}
    return {**decompositions(), **more}


def pre_export_lowering(exported_program: ExportedProgram, *settings: Any, **others: Any) -> ExportedProgram:
    """The program itself: passes lower it when it is compiled."""
    return exported_program


def post_lowering(gm: torch.fx.GraphModule, settings: CompilationSettings | None = None) -> torch.fx.GraphModule:
    """The graph with what depends on weights alone computed, and without checks; then passes that were registered.

    `compile` needs none of it, and does more, by its own passes.

    Args:
        gm: a graph of aten operators, which is changed.
        settings: handed on to the passes that were registered.
    """
    for cleanup in CLEANUPS:
        gm = cleanup(gm)
    for item in PASSES.items:
        gm = item(gm, settings or CompilationSettings())
    return gm


class Decompositions(dict[Any, Callable[..., Any]]):
    """The decompositions of a process, by operator: those that are set are used when models are compiled.

    What is removed stays as it is: whether an operator is decomposed depends on whether it has a converter.
    """

    def __setitem__(self, operator: Any, rule: Callable[..., Any]) -> None:
        super().__setitem__(operator, rule)
        REGISTERED.items.append(Decomposition(overloads_of([operator]), rule))


def table() -> Decompositions:
    """`TORCH_TRT_DECOMPOSITIONS`: the decompositions of this package, to which others can be added."""
    if REGISTERED.table is None:
        made = Decompositions()
        dict.update(made, decompositions())
        REGISTERED.table = made
    found: Decompositions = REGISTERED.table
    return found


def register_torch_trt_decomposition(
    aten_op: Any, registry: Any = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as what an operator is made of, when models are compiled.

    Args:
        aten_op: the operator.
        registry: as there: `TORCH_TRT_DECOMPOSITIONS`, which is the only one.

    Raises:
        ValueError: it is another registry, or there is no such operator.
    """
    if registry is not None and registry is not REGISTERED.table:
        raise InvalidValue("registry is another one than TORCH_TRT_DECOMPOSITIONS: leave it out.")

    def register(rule: Callable[..., Any]) -> Callable[..., Any]:
        for overload in overloads_of([aten_op]):
            table()[overload] = rule
        return rule

    return register
