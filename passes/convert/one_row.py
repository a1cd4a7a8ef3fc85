"""Products of one row as multiplications and sums, which read a matrix faster than TensorRT-RTX's products do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ...compiler.ir.annotations import reasons_of
from ...compiler.ir.call import Call
from ...compiler.ir.dtypes import HALVES
from ...compiler.ir.operators import DEQUANTIZERS
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import IsConstant
from ...compiler.tensorrt.tensor import Tensor

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten

_MOVES = frozenset({aten.view.default, aten.reshape.default, aten.permute.default, aten.transpose.int})

LONGEST = 4096
"""Terms of a sum, at most: longer ones are sums of parts.

On an H200 (us) 2048 sums of 8192 terms took 35, the product of matrices 17, and sums of parts 11.6; 4096 sums of 14336
terms: the product 39.6, sums of parts 32.4.
"""

_PART, _MOST_PARTS = 2048, 16
"""Terms of a part of a longer sum, at most, and parts."""


def is_one_row(call: Call, is_constant: IsConstant) -> bool:
    """Whether a linear layer multiplies one row of halves by a weight that is an input of the engine.

    A constant would be stored as float32, in which the terms are added up, and so would what the engine dequantises.
    """
    x, weight, source = call.value("input"), call.value("weight"), call.arg("weight")
    if isinstance(source, Node) and source.target in DEQUANTIZERS and not reasons_of(source):
        return False
    if weight.dim() != 2 or x.dim() < 2 or x.dtype not in HALVES or is_constant(call.arg("weight")):
        return False
    summed = isinstance(x.shape[-1], int) and _parts(x.shape[-1]) > 0
    return summed and all(isinstance(size, int) and size == 1 for size in x.shape[:-1])


def _parts(terms: int) -> int:
    """In how many parts of one length so many terms are added up; 0 if there is no such number."""
    if terms <= LONGEST:
        return 1
    return next((n for n in range(2, _MOST_PARTS + 1) if terms % n == 0 and terms // n <= _PART), 0)


def apart(ctx: ConverterContext, x: Tensor) -> Tensor:
    """The same tensor, which what reads it does not compute again.

    A kernel that ends in a sum takes all arithmetic before it into itself, and does it again for every sum: a product
    of 8192 x 2048 with a normalised row took 68 us instead of 10. A sum of one is a kernel's end. (So is a largest
    element of one, by a TOPK layer, but then slices before it are a kernel of their own.)
    """
    if x.trt.name not in ctx.apart:
        alone = shapes.reshape(ctx, x, (1, *x.shape), "alone")
        ctx.apart[x.trt.name] = ar.reduce(ctx, "SUM", alone, [0], False, "apart")
    return ctx.apart[x.trt.name]


def is_apart(ctx: ConverterContext, node: Any) -> bool:
    """Whether a node yields what a kernel ends in, in another shape or order, and nothing else reads it."""
    while isinstance(node, Node) and len(node.users) == 1:
        name = ctx.tensor(node).trt.name
        if name in ctx.apart and ctx.apart[name].trt.name == name:
            return True
        if node.target not in _MOVES:
            return False
        node = node.args[0]
    return False


def row_times_matrix(ctx: ConverterContext, x: Tensor, weight: Tensor, role: str, computed: bool = False) -> Tensor:
    """x [1,...,1,K] times the transpose of a weight [N,K], added up in float32, in the type of x.

    On an H200 (us; PyTorch's product, TensorRT-RTX 1.6.1's, and this): 3072 x 2048: 6.4, 7.2, 5.6; 2048 x 2048: 6.0,
    6.6, 4.2; 16384 x 2048: 19.2, 24.1, 20.4. `computed` says that x is `apart` already.
    """
    terms, columns, wide = int(x.shape[-1]), weight.shape[0], torch.float32
    row = shapes.reshape(ctx, x, (1, terms), "row")
    row, parts = row if computed else apart(ctx, row), _parts(terms)
    if parts > 1:
        row = shapes.reshape(ctx, row, (1, parts, terms // parts), "parts")
        weight = shapes.reshape(ctx, weight, (columns, parts, terms // parts), "weight_parts")
    last = weight.rank - 1
    products = ar.elementwise(
        ctx, "PROD", ar.cast(ctx, weight, wide, "weight"), ar.cast(ctx, row, wide, "wide"), "terms"
    )
    sums = ar.reduce(ctx, "SUM", products, [last], parts == 1, "sums")
    if parts > 1:
        sums = ar.reduce(ctx, "SUM", sums, [1], True, "sums_of_parts")
    return ar.cast(ctx, shapes.reshape(ctx, sums, (*x.shape[:-1], columns), "flat"), x.dtype, role)
