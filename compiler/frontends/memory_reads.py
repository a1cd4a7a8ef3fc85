"""What a model asks its tensors about their memory: strides, contiguity, and what else values do not tell.

torch.export has the answers for the example's tensors, without a check. So the answers are noted, and the model is run
without computing anything on tensors that lie otherwise: an input for which an answer changes must be given to the
compiled model as the example was.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..ir.annotations import annotate_node
from ..ir.layouts import ASKED, Must
from ..ir.program import Program
from ..ir.source import own_line

_IS_CONTIGUOUS = "is_contiguous"
_STORAGE = frozenset({"untyped_storage", "_typed_storage", "storage"})
_READS: Mapping[Any, str] = MappingProxyType(
    {
        **{
            getattr(Tensor, name): name
            for name in (
                *("stride", _IS_CONTIGUOUS, "storage_offset", "dim_order", *_STORAGE),
                *("_is_view", "is_inference", "is_conj", "is_neg", "is_pinned", "is_shared", "is_set_to"),
            )
            if hasattr(Tensor, name)
        },
        **{
            getattr(Tensor, name).__get__: name for name in ("requires_grad", "is_leaf", "grad_fn", "_base", "_version")
        },
        torch.is_conj: "is_conj",
        torch.is_neg: "is_neg",
        torch.is_inference: "is_inference",
        # TorchScript, once it is converted, calls operators.
        torch.ops.aten.is_contiguous.default: _IS_CONTIGUOUS,
        torch.ops.aten.is_contiguous.memory_format: _IS_CONTIGUOUS,
        torch.ops.aten.storage_offset.default: "storage_offset",
        torch.ops.aten.stride.default: "stride",
        torch.ops.aten.stride.int: "stride",
        torch.ops.aten.is_pinned.default: "is_pinned",
        torch.ops.aten.is_leaf.default: "is_leaf",
        torch.ops.aten.is_conj.default: "is_conj",
        torch.ops.aten.is_neg.default: "is_neg",
        torch.ops.aten.is_inference.default: "is_inference",
        torch.ops.prim.requires_grad.default: "requires_grad",
    }
)
"""Functions whose results follow from how a tensor lies in memory, or came to be, by their names."""

_NEVER = frozenset({"is_set_to", "_version"})
"""What torch.export answers for itself, and not for the tensors of any call."""

_ONLY_IN_CALLS: Mapping[str, Must] = MappingProxyType({"is_pinned": Must.NOT_PINNED, "is_shared": Must.NOT_SHARED})
"""What no tensor that is only tried can be."""

_TORCH = os.path.dirname(torch.__file__) + os.sep
_IN_BETWEEN = tuple(os.path.join(_TORCH, name) for name in ("overrides.py", "_tensor.py", "_ops.py"))
_OURS = str(Path(__file__).parents[1]) + os.sep
_CALLS_FOR_GRAPHS = (
    os.path.join(_TORCH, "fx", "interpreter.py"),
    *(str(Path(__file__).parent / "torchscript" / name) for name in ("interpreter.py", "values.py")),
)
"""Files of what calls for a graph what that asks."""


class MemoryReads(TorchFunctionMode):
    """While entered, notes what is asked of tensors by code that is not PyTorch's own.

    Attributes:
        asked: names of functions, and the user's lines.
        answers: theirs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []
        self.answers: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch's, and note its result if that follows from memory."""
        if torch.compiler.is_dynamo_compiling():  # for loops and branches, it traces what is between it and them
            return func(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if torch.compiler.is_dynamo_compiling():  # which traces the mode, too, inside torch.cond and while_loop
            return result
        name = _name(func)
        frame = _caller(sys._getframe(1)) if name is not None else None
        if name is not None and frame is not None:
            self.asked.append((name, _line(frame)))
            self.answers.append(result.nbytes() if name in _STORAGE else _plain(result))
        return result


def _name(func: Any) -> str | None:
    try:
        return _READS.get(func)
    except TypeError:  # it has no hash
        return None


def _caller(frame: FrameType | None) -> FrameType | None:
    """The frame that asks; None if that is PyTorch's code or ours, which asks in order to do the same in any case."""
    while frame is not None:
        file = frame.f_code.co_filename
        # Dynamo's guards are evaluated expressions.
        evaluated = file == "<string>" and frame.f_code.co_name == "<module>"
        if frame.f_code.co_name != "__torch_function__" and file not in _IN_BETWEEN and not evaluated:
            return None if file.startswith((_TORCH, _OURS)) and file not in _CALLS_FOR_GRAPHS else frame
        frame = frame.f_back
    return None


def _line(frame: FrameType | None) -> str:
    while frame is not None:
        line = own_line(frame, frame.f_lineno)
        if line is not None:
            return line.partition(": ")[0]
        frame = frame.f_back
    return ""


def _plain(answer: Any) -> Any:
    """An answer as it can be compared: what depends on values of tensors is unknown, and of others only whether."""
    if isinstance(answer, tuple | list):
        return tuple(map(_plain, answer))
    if isinstance(answer, bool | int | None):
        return answer
    return "?" if isinstance(answer, torch.SymInt) else type(answer).__name__


@dataclass(frozen=True)
class _Other:
    """How another tensor may be in place of an example, and what inputs must be if that changes an answer."""

    must: Must
    make: Callable[[Tensor], Tensor]


def require_what_is_asked(
    exported: ExportedProgram,
    reads: MemoryReads,
    model: torch.nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    traced: Callable[[], AbstractContextManager[Any]],
) -> None:
    """Note on the inputs of a program what they must be for the answers that `reads` has to be theirs.

    Args:
        exported: the program, whose placeholders are annotated.
        reads: what was asked when it was exported.
        model: what was exported.
        args: examples.
        kwargs: those given by name.
        traced: enters what tracing the model enters.

    Raises:
        UserError: it asks for what no other tensor can be compared in.
    """
    for name, line in reads.asked:
        if name in _NEVER:
            raise UserError(
                f"the model asks a tensor for its {name}{_at(line)}, which is not what it is when torch.export runs "
                "the model: decide that outside of it."
            )
    if not reads.asked:
        return
    leaves, spec = pytree.tree_flatten((tuple(args), dict(kwargs)))
    nodes = Program(exported).user_inputs
    if len(nodes) != len(leaves):
        return
    trial = _Trial(model, leaves, spec, traced)
    usual = trial.answers({})
    exactly = any(name != _IS_CONTIGUOUS for name, _ in reads.asked)
    asked = {name for name, _ in reads.asked}
    always = {must for name, must in _ONLY_IN_CALLS.items() if name in asked}
    for place, (leaf, node) in enumerate(zip(leaves, nodes, strict=True)):
        if not isinstance(leaf, Tensor) or leaf.layout is not torch.strided:
            continue
        changed = {
            other.must for other in _others(leaf) if usual is None or trial.answers({place: other.make}) != usual
        }
        if Must.STRIDES in changed and exactly:
            changed.add(Must.EXACT_STRIDES)
        if changed or always:
            name, line = reads.asked[0]
            must = sorted(item.value for item in changed | always)
            annotate_node(node, **{ASKED: {"because": f"{name}{_at(line)}", "must": must}})


def _at(line: str) -> str:
    return f" at {line}" if line else ""


@dataclass(frozen=True)
class _Trial:
    """Runs a model without computing anything, with some of its tensors in another form."""

    model: torch.nn.Module
    leaves: Sequence[Any]
    spec: pytree.TreeSpec
    traced: Callable[[], AbstractContextManager[Any]]

    def answers(self, others: Mapping[int, Callable[[Tensor], Tensor]]) -> list[Any] | None:
        """What the model is told when it asks; None if it raises."""
        mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
        reads = MemoryReads()
        try:
            with self.traced(), torch.compiler.set_stance("force_eager"), torch.no_grad(), mode:
                given = [self._tried(leaf, others.get(place)) for place, leaf in enumerate(self.leaves)]
                args, kwargs = pytree.tree_unflatten(given, self.spec)
                with reads:
                    self.model(*args, **kwargs)
        except Exception:
            return None
        return reads.answers

    @staticmethod
    def _tried(leaf: Any, other: Callable[[Tensor], Tensor] | None) -> Any:
        return _same(leaf) if other is None else other(leaf)


def _same(leaf: Any) -> Any:
    return _lying(leaf, leaf.stride()) if isinstance(leaf, Tensor) and leaf.layout is torch.strided else leaf


def _lying(leaf: Tensor, strides: Sequence[int], offset: int = 0, more: int = 0) -> Tensor:
    """A tensor of the leaf's shape with these strides, in memory of its own."""
    reach = sum((size - 1) * step for size, step in zip(leaf.shape, strides, strict=True)) if leaf.numel() else -1
    memory = torch.empty(offset + reach + 1 + more, dtype=leaf.dtype, device=leaf.device)
    # As a tensor that no one made a view of.
    return memory.as_strided(leaf.shape, strides, offset).data


def _others(leaf: Tensor) -> Iterator[_Other]:
    """Other tensors that may be in the place of an example: in other strides, in more memory, with a history."""
    shape = leaf.shape
    for strides in (
        _strides(shape, range(leaf.dim())),
        _strides(shape, reversed(range(leaf.dim()))),
        _strides([size + 1 for size in shape], range(leaf.dim())),
        tuple(2 * step for step in leaf.stride()),
        *([_strides(shape, [0, *range(2, leaf.dim()), 1])] if leaf.dim() in (4, 5) else []),
    ):
        if strides != leaf.stride():
            yield _Other(Must.STRIDES, lambda given, strides=strides: _lying(given, strides))  # type: ignore[misc]
    yield _Other(Must.OFFSET, lambda given: _lying(given, given.stride(), offset=3))
    yield _Other(Must.WHOLE_MEMORY, lambda given: _lying(given, given.stride(), more=5))
    yield _Other(Must.NO_VIEW, lambda given: _same(given).view(given.shape))
    yield _Other(Must.NO_INFERENCE, _of_inference)
    if leaf.is_floating_point() or leaf.is_complex():
        yield _Other(Must.NO_GRADIENT, lambda given: _same(given).requires_grad_())
        yield _Other(Must.NO_GRADIENT, _of_gradients)
        yield _Other(Must.NO_MARK, lambda given: torch._neg_view(_same(given)))
    if leaf.is_complex():
        yield _Other(Must.NO_MARK, lambda given: _same(given).conj())


def _of_inference(given: Tensor) -> Tensor:
    with torch.inference_mode():
        return _lying(given, given.stride())


def _of_gradients(given: Tensor) -> Tensor:
    with torch.enable_grad():
        result: Tensor = _same(given).requires_grad_() * 1
        return result


def _strides(shape: Sequence[int], order: Any) -> tuple[int, ...]:
    """Strides of dense memory, for dimensions in an order from the outermost to the innermost."""
    strides, step = [0] * len(shape), 1
    for dim in reversed(list(order)):
        strides[dim] = step
        step *= max(int(shape[dim]), 1)
    return tuple(strides)
