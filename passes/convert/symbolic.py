"""Sizes and picks: nodes that need no layer of their own. Consumers compute sizes from the shapes of network inputs."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.tensorrt.registry import Family

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext
    from ...compiler.tensorrt.tensor import Tensor

aten = torch.ops.aten
FAMILY = Family("symbolic")

_SIZE_FUNCTIONS = (
    operator.add,
    operator.sub,
    operator.mul,
    operator.floordiv,
    operator.truediv,
    operator.mod,
    operator.pow,
    operator.neg,
    operator.pos,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.lshift,
    operator.rshift,
    operator.and_,
    operator.or_,
    operator.abs,
    round,
    math.ceil,
    math.floor,
    math.trunc,
    torch.sym_int,
    torch.sym_float,
    torch.sym_max,
    torch.sym_min,
    torch.sym_not,
    torch.sym_ite,
    torch.sym_sum,
    torch.sym_sqrt,
)


@FAMILY.converter(
    aten.sym_size.int,
    aten.sym_stride.int,
    aten.sym_numel.default,
    aten.sym_storage_offset.default,
    aten.sym_is_contiguous.default,
    *_SIZE_FUNCTIONS,
)
def size(ctx: ConverterContext, call: Call) -> None:
    """A size needs no layer: whoever uses it computes it from its symbolic expression."""


@FAMILY.converter(operator.getitem)
def pick(ctx: ConverterContext, call: Call) -> Tensor | None:
    """Pick one result of an operator that yields several."""
    index: int = call.arg("b")
    return ctx.results(call.arg("a"))[index]
