"""Weights in few bits that engines should take as floats: their products take less time so, as measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ...compiler.ir.annotations import reasons_of
from ...compiler.ir.dtypes import HALVES
from ...compiler.ir.ledger import Reason
from ...compiler.ir.operators import DEQUANTIZE, DEQUANTIZE_PACKED, DEQUANTIZERS
from ...compiler.tensorrt.product_times import GPU, LARGE, slower, usual_sizes

if TYPE_CHECKING:
    from ...compiler.ir.tuning import Tuning

aten = torch.ops.aten

_OPERANDS: Mapping[Any, tuple[int, int]] = MappingProxyType(
    {
        aten.linear.default: (0, 1),
        aten.mm.default: (0, 1),
        aten.matmul.default: (0, 1),
        aten.addmm.default: (1, 2),
    }
)
_WHEN = "the weight is dequantised when the model is loaded"
_NAMED = 4
"""Reasons that a note names; the rest is counted."""

_FORMS = MappingProxyType({torch.int8: "int8 weights", torch.float8_e4m3fn: "fp8 weights"})


def why_float(
    node: Node, constants: Collection[str], tuning: Tuning | None = None, small: bool = False
) -> Reason | None:
    """Why a weight that a node dequantises is not to be a part of an engine, but dequantised when the model is loaded.

    None where it is no weight of products of halves, or where it pays to read few bits: by a tuning, or by the table.
    With `small` it always does, where TensorRT stores few bits.
    """
    if not is_large_weight(node, constants):
        return None
    if tuning is not None and not small:
        from ...compiler.ir.tuning import ONE_WAY, PYTORCH, pattern_of, us_text

        known = tuning.patterns.get(pattern_of(node, constants), {})
        if ONE_WAY in known and PYTORCH in known:
            ours, floats = known[ONE_WAY].us, known[PYTORCH].us
            text = (
                f"what reads it takes {us_text(ours)} with few bits, and {us_text(floats)} with floats ({tuning.name})"
            )
            return None if ours <= floats else Reason("TP307", f"{text}: {_WHEN}.")
    weight = node.meta["val"]
    form = _form(node)
    if form in ("fp8 weights", "fp4 weights"):
        size = f"{weight.shape[0]} x {weight.shape[1]}"
        name = "float8" if form == "fp8 weights" else "float4"
        kept = "halves" if weight.dtype in HALVES else "floats"
        text = f"TensorRT multiplies floats by {name} as {kept}, and would store these {size} numbers as such"
        return Reason("TP307", f"{text}: {_WHEN}.")
    if small:
        return None
    measured = None
    for product in node.users:
        left = product.args[_OPERANDS[product.target][0]]
        assert isinstance(left, Node), "operands are tensors"
        sizes = usual_sizes(left.meta["val"], weight.numel())
        measured = None if sizes is None else slower(form, *sizes)
        if measured is None:
            return None
    assert measured is not None, "a weight that nothing reads was removed"
    ours, floats = measured.us[form], measured.us["f16"]
    text = f"a product of {measured.sizes} takes {ours:g} us with {form}, and {floats:g} with halves, on {GPU}"
    return Reason("TP307", f"{text}: {_WHEN}.")


def float_weights_text(nodes: Iterable[Node]) -> str:
    """How many weights are dequantised when the model is loaded, and why; "" if none is."""
    reasons = {node.name: reason.message for node in nodes for reason in reasons_of(node) if reason.code == "TP307"}
    if not reasons:
        return ""
    number = f"{len(reasons)} weights in few bits are" if len(reasons) > 1 else "1 weight in few bits is"
    counts = Counter(message.rpartition(":")[0] for message in reasons.values())
    listed = "; ".join(f"{text} ({count})" for text, count in counts.most_common(_NAMED))
    rest = f"; and {len(counts) - _NAMED} more reasons" if len(counts) > _NAMED else ""
    return (
        f"{number} dequantised when the model is loaded: {listed}{rest}. quantised_weights='small' leaves them in few "
        "bits."
    )


def is_large_weight(node: Node, constants: Collection[str]) -> bool:
    """Whether a node dequantises a large constant that only products read, as their right operand; of halves, but for
    floats of few bits."""
    if node.target not in DEQUANTIZERS or not node.users:
        return False
    if node.target is DEQUANTIZE and (node.args[2] is not None or _data(node).meta["val"].dtype not in _FORMS):
        return False
    if any(source.name not in constants for source in node.all_input_nodes):
        return False
    weight = node.meta["val"]
    if weight.dim() != 2 or weight.numel() < LARGE:
        return False
    if weight.dtype not in HALVES and _form(node) not in ("fp8 weights", "fp4 weights"):
        return False
    for user in node.users:
        left, right = _OPERANDS.get(user.target, (0, 0))
        if left == right or user.args[right] is not node:
            return False
        other = user.args[left]
        if not isinstance(other, Node) or other is node:
            return False
        if other.target in DEQUANTIZERS and _form(node) != "fp4 weights":
            return False
    return True


def _form(node: Node) -> str:
    """What the weight's form is called."""
    if node.target is DEQUANTIZE_PACKED:
        return f"{node.args[2]} weights"
    return _FORMS[_data(node).meta["val"].dtype]


def _data(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node), "what is dequantised is a tensor"
    return source
