"""Matrix products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ...compiler.ir.call import Call
from ...compiler.ir.dtypes import HALVES
from ...compiler.ir.symbols import Dim, at_least
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.in_float32 import in_float32
from ...compiler.tensorrt.registry import Family, IsConstant
from ...compiler.tensorrt.tensor import Tensor
from .conditions import FLOATS, dtype_of
from .one_row import is_apart, is_one_row, row_times_matrix

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("linear")
Product = Callable[["ConverterContext", Call], Tensor]


_FEW = 8
"""Terms or columns of products whose number of rows varies, up to which one row is not computed alone."""

VOCABULARY = 4096
"""Columns from which on a product of halves gets more of them, up to a multiple of 64, if they are no multiple of 8.

Kernels for other sizes are slow: that of GPT-2's 50,257 tokens took 96 us on an H200, and 36 with 50,304.
"""


def product(
    ctx: ConverterContext,
    left: Tensor,
    right: Tensor,
    *,
    transposed: tuple[bool, bool] = (False, False),
    role: str = "",
    exact_sums: bool = True,
) -> Tensor:
    """A matrix product of tensors of at least two dimensions, batch dimensions broadcast.

    Of one term they are multiplications, since TensorRT-RTX adds up such products wrongly in a kernel with a sum after
    it. It adds up halves in half precision. Between casts to float32 and back, which it takes into its kernel
    for halves, it adds up in float32, as PyTorch does.

    Args:
        ctx: builds the network.
        left, right: the operands, of the same dtype.
        transposed: of each operand, whether its last two dimensions are meant exchanged.
        role: as for `ConverterContext.emit`.
        exact_sums: add up halves in float32, if the option `use_fp32_acc` says so too.
    """
    rank = max(left.rank, right.rank)
    left, right = shapes.with_rank(ctx, left, rank), shapes.with_rank(ctx, right, rank)
    batch = shapes.broadcast(left.shape[:-2], right.shape[:-2])
    rows = left.shape[-1] if transposed[0] else left.shape[-2]
    columns = right.shape[-2] if transposed[1] else right.shape[-1]
    terms = left.shape[-2] if transposed[0] else left.shape[-1]
    if terms == 1:
        column = shapes.reshape(ctx, left, (*left.shape[:-2], rows, 1), "column")
        row = shapes.reshape(ctx, right, (*right.shape[:-2], 1, columns), "row")
        return ar.elementwise(ctx, "PROD", column, row, role)
    widened = exact_sums and ctx.use_fp32_acc and left.dtype == torch.float16
    if widened:
        left, right = _in_float32(ctx, left, batch), _in_float32(ctx, right, batch)
    computed = _computed_rows(ctx, batch, rows, columns, terms)
    more = computed != rows and not _is_weight(ctx, right)
    if more:
        left = _with_rows(ctx, left, -1 if transposed[0] else -2, computed)
    operations = ctx.trt.MatrixOperation
    kinds = [operations.TRANSPOSE if flag else operations.NONE for flag in transposed]
    layer = ctx.network.add_matrix_multiply(left.trt, kinds[0], right.trt, kinds[1])
    own = "sums" if widened else role
    if more:
        result = shapes.slice_axis(ctx, ctx.emit(layer, (*batch, computed, columns), "rows"), -2, 0, rows, role=own)
    else:
        result = ctx.emit(layer, (*batch, rows, columns), own)
    return ar.cast(ctx, result, torch.float16, role) if widened else result


def _computed_rows(ctx: ConverterContext, batch: Sequence[Dim], rows: Dim, columns: Dim, terms: Dim) -> Dim:
    """How many rows of a product are computed: more than one, where that is a batch of products of one row.

    TensorRT-RTX 1.6 computes the arithmetic that follows such products in their kernel, and does it wrongly on an H200,
    in all types: of 143 programs that end in `bmm(row, matrix) * 2 + 1`, or alike, 37 were. Of two equal rows, the
    first is right, in as much time. Rows whose number varies were wrong for one row of 2 or 3 terms or columns.
    """
    if not _is_batch(batch):
        return rows
    if rows == 1:
        return 2
    few = any(isinstance(size, int) and size <= _FEW for size in (columns, terms))
    if few and not isinstance(rows, int) and not at_least(rows, 2, ctx.sizes.ranges):
        return rows + 1
    return rows


def _with_rows(ctx: ConverterContext, x: Tensor, axis: int, rows: Dim) -> Tensor:
    """Two equal rows for one; one of zeros after several."""
    dim = x.rank + axis
    if rows == 2:
        return shapes.expand(ctx, x, [2 if index == dim else size for index, size in enumerate(x.shape)], "twice")
    after = [1 if index == dim else 0 for index in range(x.rank)]
    return shapes.pad(ctx, x, [0] * x.rank, after, role="more")


def _is_batch(sizes: Sequence[Dim]) -> bool:
    """Whether products are a batch of one dimension, beside those of size 1."""
    return sum(1 for size in sizes if size != 1) == 1


def _is_weight(ctx: ConverterContext, operand: Tensor) -> bool:
    """Whether all rows of a batch are multiplied by the same constant matrix."""
    return ctx.is_constant(operand) and all(size == 1 for size in operand.shape[:-2])


def _in_float32(ctx: ConverterContext, x: Tensor, batch: Sequence[Dim]) -> Tensor:
    """An operand in float32, with the batch of the product: no cast goes into a kernel that repeats some matrices."""
    if any(size != 1 for size in x.shape[:-2]):
        x = shapes.expand(ctx, x, (*batch, *x.shape[-2:]), "repeated")
    return ar.cast(ctx, x, torch.float32, "float32")


def bias_of(ctx: ConverterContext, argument: Any) -> Any:
    """An argument that is added to sums; None if it is a constant of zeros, whose addition can keep TensorRT from
    taking a faster kernel."""
    values = ctx.constant_value(argument)
    return argument if values is None or values.any() else None


def _of_matrices(call: Call) -> bool:
    return bool(call.value("weight").dim() == 2 and call.value("input").dim() > 1)


def _transposable(call: Call, is_constant: IsConstant) -> bool:
    return _of_matrices(call) and call.value("input").dtype is torch.float16 and is_constant(call.arg("weight"))


def _paddable(call: Call, is_constant: IsConstant) -> bool:
    if not _transposable(call, is_constant):  # a weight that is an input may be of any number of columns
        return False
    columns = int(call.value("weight").shape[0])
    return columns >= VOCABULARY and columns % 8 != 0


def _is_flat(call: Call, is_constant: IsConstant) -> bool:
    x = call.value("input")
    plain = call.arg("bias") is None
    return plain and _of_matrices(call) and x.dtype in HALVES and _is_one_sequence(x) and _is_gated(call.node)


@FAMILY.variant("flat-rows", _is_flat)
def _flat_rows(ctx: ConverterContext, call: Call) -> Tensor:
    """The product of a single sequence of halves with a weight, whose result gates another product: as a matrix."""
    x = ctx.tensor(call.arg("input"))
    rows = shapes.reshape(ctx, x, x.shape[-2:], "rows")
    result = _times_weight(ctx, call, rows, role="flat")
    return shapes.reshape(ctx, result, (*x.shape[:-1], result.shape[-1]))


@FAMILY.variant("multiplied-and-added", is_one_row)
def _multiplied_and_added(ctx: ConverterContext, call: Call) -> Tensor:
    """One row of halves and a weight that is an input of the engine, by a multiplication and a sum."""
    x, weight = ctx.tensor(call.arg("input")), ctx.tensor(call.arg("weight"))
    bias = shapes.operand_with_rank(ctx, bias_of(ctx, call.arg("bias")), x.rank)
    computed = is_apart(ctx, call.arg("input"))
    result = row_times_matrix(ctx, x, weight, "product" if bias is not None else "", computed)
    return result if bias is None else ar.elementwise(ctx, "SUM", result, bias)


@FAMILY.variant("padded-vocabulary", _paddable, exact=True)
def _padded_vocabulary(ctx: ConverterContext, call: Call) -> Tensor:
    """A float16 weight of 4,096 columns or more that are no multiple of 8, transposed, with zeros up to one of 64."""
    return _linear(ctx, call)


@FAMILY.variant("transposed-weight", _transposable, exact=True)
def _transposed_weight(ctx: ConverterContext, call: Call) -> Tensor:
    """A float16 weight whose dimensions are exchanged beforehand, unless its network has several profiles."""
    return _linear(ctx, call, pad=False)


@FAMILY.variant("sums-in-halves", _transposable, default=False, exact=False)
def _sums_in_halves(ctx: ConverterContext, call: Call) -> Tensor:
    """A float16 weight whose dimensions are exchanged beforehand, and terms that are added up in float16."""
    return _linear(ctx, call, exact_sums=False)


@FAMILY.converter(
    aten.linear.default,
    conditions=[dtype_of("input", FLOATS), dtype_of("weight", FLOATS)],
    composite=True,
    variant="weight-as-it-is",
)
def linear(ctx: ConverterContext, call: Call) -> Tensor:
    """input @ weight.T + bias; the weight keeps its layout."""
    x = ctx.tensor(call.arg("input"))
    if call.value("weight").dim() == 1 or x.rank == 1:
        return _vector_linear(ctx, call, x)
    bias = shapes.operand_with_rank(ctx, bias_of(ctx, call.arg("bias")), x.rank)
    result = _times_plain_weight(ctx, call, x, role="product" if bias is not None else "")
    return result if bias is None else ar.elementwise(ctx, "SUM", result, bias)


def _linear(ctx: ConverterContext, call: Call, *, pad: bool = True, exact_sums: bool = True) -> Tensor:
    x = ctx.tensor(call.arg("input"))
    bias = shapes.operand_with_rank(ctx, bias_of(ctx, call.arg("bias")), x.rank)
    result = _times_weight(ctx, call, x, "product" if bias is not None else "", pad, exact_sums)
    return result if bias is None else ar.elementwise(ctx, "SUM", result, bias)


def _is_one_sequence(x: Any) -> bool:
    """Whether a tensor is static and [1, ..., 1, rows, columns]."""
    return len(x.shape) > 2 and all(isinstance(size, int) for size in x.shape) and set(x.shape[:-2]) == {1}


def _is_gated(node: Node) -> bool:
    """Whether a product is read once, to be multiplied by silu of another product of the same input, without biases.

    TensorRT-RTX joins products of the same input, and multiplies in a kernel of its own. If the input of one has
    another shape, the multiplication is a part of the other: Llama 1B took 1 to 3 % less time on an H200. For several
    sequences, or varying sizes, it is not.
    """
    users = list(node.users)
    if len(users) != 1 or users[0].target is not aten.mul.Tensor:
        return False
    gates = (source.args[0] for source in users[0].all_input_nodes if source.target is aten.silu.default)
    return any(
        isinstance(gate, Node)
        and gate.target is aten.linear.default
        and gate.args[0] is node.args[0]
        and gate.args[2:] in ((), (None,))
        for gate in gates
    )


def _times_weight(
    ctx: ConverterContext, call: Call, x: Tensor, role: str, pad: bool = True, exact_sums: bool = True
) -> Tensor:
    if x.dtype == torch.float16 and isinstance(call.value("weight").shape[0], int):
        # On an H200 kernels for the other layout take up to a tenth longer, and TensorRT does not exchange it itself.
        # Except for a product of one row: if only some profiles have one, it would keep the weight in both layouts.
        exchanged = not ctx.several_profiles
        columns = int(call.value("weight").shape[0])
        padded = columns if not pad or columns % 8 == 0 or columns < VOCABULARY else -(-columns // 64) * 64
        copied = exchanged or padded != columns
        weight = ctx.copied_matrix(call.arg("weight"), x.rank, padded, exchanged) if copied else None
        if weight is not None:
            wanted, role_of_product = (False, not exchanged), role if padded == columns else "padded"
            result = product(ctx, x, weight, transposed=wanted, role=role_of_product, exact_sums=exact_sums)
            return shapes.slice_axis(ctx, result, -1, 0, columns, role=role)
    return _times_plain_weight(ctx, call, x, role, exact_sums)


def _times_plain_weight(ctx: ConverterContext, call: Call, x: Tensor, role: str, exact_sums: bool = True) -> Tensor:
    weight = shapes.operand_with_rank(ctx, call.arg("weight"), x.rank)
    assert weight is not None
    return product(ctx, x, weight, transposed=(False, True), role=role, exact_sums=exact_sums)


def _vector_linear(ctx: ConverterContext, call: Call, x: Tensor) -> Tensor:
    weight, bias = ctx.tensor(call.arg("weight")), ctx.optional(bias_of(ctx, call.arg("bias")))
    if weight.rank == 1:
        result = _vectors(ctx, x, weight)
    else:
        row = shapes.unsqueeze(ctx, x, 0, "row")
        result = product(ctx, row, weight, transposed=(False, True), role="product" if bias is not None else "")
        result = shapes.reshape(ctx, result, (weight.shape[0],), "shape")
    return result if bias is None else ar.binary(ctx, "SUM", result, bias)


@FAMILY.converter(aten.mm.default, conditions=[dtype_of("self", FLOATS)])
def mm(ctx: ConverterContext, call: Call) -> Tensor:
    """The product of two matrices."""
    return product(ctx, ctx.tensor(call.arg("self")), ctx.tensor(call.arg("mat2")))


@FAMILY.converter(aten.bmm.default, conditions=[dtype_of("self", FLOATS)])
def bmm(ctx: ConverterContext, call: Call) -> Tensor:
    """The products of two batches of matrices."""
    return product(ctx, ctx.tensor(call.arg("self")), ctx.tensor(call.arg("mat2")))


@FAMILY.converter(
    aten.matmul.default,
    aten.mv.default,
    aten.dot.default,
    conditions=[dtype_of("self", FLOATS)],
    composite=True,
)
def matmul(ctx: ConverterContext, call: Call) -> Tensor:
    """The matrix product, with PyTorch's rules for vectors and batches."""
    left = ctx.tensor(call.arg("self"))
    right = ctx.tensor(call.args.get("other") or call.args.get("vec") or call.args.get("tensor"))
    if left.rank == 1 or right.rank == 1:
        return _vectors(ctx, left, right)
    return product(ctx, left, right)


def _vectors(ctx: ConverterContext, left: Tensor, right: Tensor) -> Tensor:
    """A product in which at least one operand is a vector."""
    first = shapes.unsqueeze(ctx, left, 0, "row") if left.rank == 1 else left
    second = shapes.unsqueeze(ctx, right, 1, "column") if right.rank == 1 else right
    result = product(ctx, first, second)
    shape: list[Dim] = list(result.shape)
    if right.rank == 1:
        del shape[-1]
    if left.rank == 1:
        del shape[-1 if right.rank == 1 else -2]
    return shapes.reshape(ctx, result, shape, "shape")


@FAMILY.converter(aten.addmm.default, conditions=[dtype_of("mat1", FLOATS)])
def addmm(ctx: ConverterContext, call: Call) -> Tensor:
    """beta * self + alpha * (mat1 @ mat2)."""
    return _scaled(_addmm, call)(ctx, call)


def _addmm(ctx: ConverterContext, call: Call) -> Tensor:
    return _plus(ctx, call, product(ctx, ctx.tensor(call.arg("mat1")), ctx.tensor(call.arg("mat2")), role="product"))


@FAMILY.converter(aten.baddbmm.default, conditions=[dtype_of("batch1", FLOATS)], composite=True)
def baddbmm(ctx: ConverterContext, call: Call) -> Tensor:
    """beta * self + alpha * (batch1 @ batch2)."""
    return _scaled(_baddbmm, call)(ctx, call)


def _baddbmm(ctx: ConverterContext, call: Call) -> Tensor:
    return _plus(
        ctx, call, product(ctx, ctx.tensor(call.arg("batch1")), ctx.tensor(call.arg("batch2")), role="product")
    )


@FAMILY.converter(aten.addbmm.default, conditions=[dtype_of("batch1", FLOATS)])
def addbmm(ctx: ConverterContext, call: Call) -> Tensor:
    """beta * self + alpha * (the sum of the matrices batch1 @ batch2)."""
    return _scaled(_addbmm, call)(ctx, call)


def _addbmm(ctx: ConverterContext, call: Call) -> Tensor:
    left, right = ctx.tensor(call.arg("batch1")), ctx.tensor(call.arg("batch2"))
    # Side by side and one below the other, the matrices are one product, with one sum.
    row = shapes.flatten(ctx, shapes.swap(ctx, left, 0, 1, "row"), 1, 2, "row")
    return _plus(ctx, call, product(ctx, row, shapes.flatten(ctx, right, 0, 1, "column"), role="product"))


@FAMILY.converter(aten._trilinear.default, conditions=[dtype_of("i1", FLOATS)], wide=True)
def trilinear(ctx: ConverterContext, call: Call) -> Tensor:
    """The product of three tensors, each with some dimensions added, summed over some dimensions."""
    result: Tensor | None = None
    for name in ("i1", "i2", "i3"):
        part = ctx.tensor(call.arg(name))
        for dim in sorted(call.value(name.replace("i", "expand"))):
            part = shapes.unsqueeze(ctx, part, dim, "expand")
        result = part if result is None else ar.elementwise(ctx, "PROD", result, part, "product")
    assert result is not None
    return ar.reduce(ctx, "SUM", result, call.value("sumdim"))


@FAMILY.converter(aten.addmv.default, conditions=[dtype_of("mat", FLOATS)], composite=True)
def addmv(ctx: ConverterContext, call: Call) -> Tensor:
    """beta * self + alpha * (mat @ vec)."""
    return _scaled(_addmv, call)(ctx, call)


def _addmv(ctx: ConverterContext, call: Call) -> Tensor:
    return _plus(ctx, call, _vectors(ctx, ctx.tensor(call.arg("mat")), ctx.tensor(call.arg("vec"))))


def _scaled(convert: Product, call: Call) -> Product:
    """A converter that scales a product or what is added to it, in float32: a half may not hold what is not scaled."""
    plain = all(isinstance(call.value(name), int | float) and call.value(name) in (0, 1) for name in ("alpha", "beta"))
    return convert if plain else in_float32(convert)


def _plus(ctx: ConverterContext, call: Call, result: Tensor) -> Tensor:
    alpha, beta = call.value("alpha"), call.value("beta")
    if alpha != 1:
        result = ar.multiply(ctx, *ar.pair(ctx, result, ar.operand(ctx, call.arg("alpha")), result.dtype), "alpha")
    bias = shapes.operand_with_rank(ctx, bias_of(ctx, call.arg("self")), result.rank) if beta != 0 else None
    if bias is None:
        return result
    if beta != 1:
        bias = ar.multiply(ctx, *ar.pair(ctx, bias, ar.operand(ctx, call.arg("beta")), bias.dtype), "beta")
    return ar.binary(ctx, "SUM", result, bias)
