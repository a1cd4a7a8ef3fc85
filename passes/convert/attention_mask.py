"""Masks of scaled dot-product attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...compiler.ir.call import Call
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.tensor import Tensor

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten

HIDDEN = -1e30
"""Score of a hidden key where nothing is skipped; its weight is zero unless all keys are hidden."""

_SAME_FOR_ROWS = frozenset(
    {
        aten.expand.default,
        aten.bitwise_and.Tensor,
        aten.bitwise_or.Tensor,
        aten.bitwise_not.default,
        aten.logical_and.default,
        aten.logical_or.default,
        aten.logical_not.default,
    }
)
"""Operators whose result is the same in all rows if their operands are."""


@dataclass(frozen=True)
class Mask:
    """Which keys a query sees: bool, True if it does, or a number to add to the score.

    Attributes:
        values: the mask, broadcast to the scores.
        seen: which rows see any key; None if it is known that all do. Softmax yields numbers or NaN for the others,
            where PyTorch yields zeros.
        rows_alike: whether `seen` is the same for all queries of a head, and the mask is bool.
        hidden: the score of a hidden key.
    """

    values: Tensor
    seen: Tensor | None
    rows_alike: bool
    hidden: float

    def visible(self, ctx: ConverterContext, value: Tensor) -> Tensor:
        """The values, zero where no row sees any of them: unlike `cleared`, TensorRT needs no kernel for that."""
        if self.seen is None or not self.rows_alike:
            return value
        return ar.where(ctx, self.seen, value, 0.0, "seen_value")

    def applied(self, ctx: ConverterContext, scores: Tensor) -> Tensor:
        """Scores in f32, masked."""
        if self.values.dtype == torch.bool:
            return ar.where(ctx, self.values, scores, self.hidden, "masked")
        return ar.binary(ctx, "SUM", scores, ar.cast(ctx, self.values, torch.float32, "mask"), "masked")

    def cleared(self, ctx: ConverterContext, result: Tensor) -> Tensor:
        """The result with zeros in rows that see no key."""
        if self.seen is None or self.rows_alike:
            return result
        return ar.where(ctx, self.seen, result, 0.0, "seen")


def mask_of(ctx: ConverterContext, call: Call, is_long: bool) -> Mask | None:
    """The mask of a call, if it has one.

    Args:
        ctx: what converts.
        call: of scaled_dot_product_attention.
        is_long: whether there may be so many keys that kernels had better skip hidden ones, which -inf makes them do.
    """
    argument = call.arg("attn_mask")
    values = ctx.optional(argument)
    if values is None:
        return None
    alike = values.dtype == torch.bool and _rows_alike(ctx, argument)
    seen = None if _shows_every_row_a_key(ctx, call) else _seen(ctx, values, alike)
    # A row of nothing but -inf is NaN, which zeros in the values do not remove.
    skips = is_long and not (alike and seen is not None)
    return Mask(values, seen, alike, float("-inf") if skips else HIDDEN)


def _shows_every_row_a_key(ctx: ConverterContext, call: Call) -> bool:
    mask = ctx.constant_value(call.arg("attn_mask"))
    if mask is None:
        return False
    visible = mask if mask.dtype == torch.bool else mask > float("-inf")
    return bool(visible.any(-1).all())


def _rows_alike(ctx: ConverterContext, mask: Any) -> bool:
    """Whether a mask shows every query of a head the same keys, as a mask of padding does."""
    shape = mask.meta["val"].shape
    if len(shape) < 2 or shape[-2] == 1:
        return True
    constant = ctx.constant_value(mask)
    if constant is not None:
        return bool((constant == constant[..., :1, :]).all())
    return mask.target in _SAME_FOR_ROWS and all(
        _rows_alike(ctx, source) for source in mask.all_input_nodes if isinstance(source.meta.get("val"), torch.Tensor)
    )


def _seen(ctx: ConverterContext, mask: Tensor, rows_alike: bool) -> Tensor:
    if rows_alike and mask.rank > 1:
        mask = shapes.slice_axis(ctx, mask, mask.rank - 2, 0, 1, role="row")
    least = torch.finfo(mask.dtype).min if mask.dtype != torch.bool else None
    visible = mask if least is None else ar.compare_or_equal(ctx, "GREATER", mask, least, "visible")
    return ar.any_of(ctx, visible, [-1], True)
